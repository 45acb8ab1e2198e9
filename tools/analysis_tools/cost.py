"""Score against epochs and against training FLOPs (Fig. 9, Table 5).

Reads the logs of runs. FLOPs are computed from each run's config: those of an
iteration, with its subnets, times the number of iterations. Needs no data.
"""

import argparse
from contextlib import closing
from typing import Optional, Sequence

from rich.console import Console
from rich.progress import track

import mmst  # noqa: F401  registers its modules, custom_imports or not
from mmst.analysis.cost import (
    Results,
    format_cost_table,
    measure_training_cost,
)
from mmst.analysis.cost_figure import draw_costs
from mmst.analysis.results import write_results
from mmst.analysis.training_log import read_training_log
from mmst.launch.command_line import (
    add_cfg_options,
    add_image_size,
    add_metric,
    add_out,
    check_runs,
)


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--run',
        nargs=2,
        action='append',
        required=True,
        metavar=('NAME', 'WORK_DIR'),
        help='a training run; repeat the option to compare several',
    )
    add_metric(parser)
    add_image_size(parser)
    add_out(parser, 'cost')
    add_cfg_options(parser)
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
            results[name] = measure_training_cost(log, metric, parsed.size)
            metric = results[name].metric
    print(format_cost_table(results))
    write_results(
        parsed.out,
        'cost',
        {name: run._asdict() for name, run in results.items()},
        draw_costs(results),
    )


if __name__ == '__main__':
    main()
