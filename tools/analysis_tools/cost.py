"""Score against epochs and against training FLOPs (Fig. 9, Table 5).

From the logs of runs. FLOPs come from each run's config: those of an
iteration, its subnets included, times the iterations. Data are not needed.
"""

import argparse
from contextlib import closing
from typing import Optional, Sequence

from rich.console import Console
from rich.progress import track

import mmst  # noqa: F401  registers its modules, custom_imports or not
from mmst.analysis.command_line import add_out_arguments, check_runs
from mmst.analysis.results import write_results
from mmst.analysis.training_cost import (
    Results,
    cost_table,
    draw_costs,
    training_cost,
)
from mmst.analysis.training_log import read_training_log


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--run',
        nargs=2,
        action='append',
        required=True,
        metavar=('NAME', 'WORK_DIR'),
        help='a training run; give it several times to compare',
    )
    parser.add_argument(
        '--metric',
        help='such as accuracy/top1 or coco/bbox_mAP; default: '
        'the usual one of the task',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help="training images' size; default: what the pipeline tells",
    )
    add_out_arguments(parser, 'cost')
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Read each log, print a table, write it as JSON and PNG."""
    parsed = parse_args(args)
    check_runs(parsed.run)
    results: Results = {}
    metric = parsed.metric
    with closing(
        track(parsed.run, 'runs', transient=True, console=Console(stderr=True))
    ) as runs:
        for name, work_dir in runs:
            log = read_training_log(work_dir)
            log.config.merge_from_dict(parsed.cfg_options or {})
            results[name] = training_cost(log, metric, parsed.size)
            metric = results[name].metric
    print(cost_table(results))
    write_results(
        parsed.out,
        'cost',
        {name: run._asdict() for name, run in results.items()},
        draw_costs(results),
    )


if __name__ == '__main__':
    main()
