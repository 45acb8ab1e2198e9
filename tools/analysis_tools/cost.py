"""Score against epochs and against training FLOPs (Fig. 9, Table 5).

Reads the logs of runs. FLOPs are computed from each run's config: those of an
iteration, with its subnets, times the number of iterations. Needs no data.
"""

import argparse
from typing import Dict, Optional, Sequence

from run_analysis import Measured, add_metric_and_rule, run_analysis

from mmst.launch.command_line import (
    add_cfg_options,
    add_image_size,
    check_runs,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tool's flags."""
    parser.add_argument(
        '--run',
        nargs=2,
        action='append',
        required=True,
        metavar=('NAME', 'WORK_DIR'),
        help='a training run; repeat the option to compare several',
    )
    add_metric_and_rule(parser)
    add_image_size(parser)
    add_cfg_options(parser)


def measure(parsed: argparse.Namespace) -> Measured:
    """Read each log, and count what the run cost."""
    import mmst.registry  # noqa: F401  configs may not import mmst
    from mmst.analysis import cost
    from mmst.analysis.results import show_progress
    from mmst.analysis.training_log import read_training_log
    from mmst.launch.toolbox import change_config

    check_runs(parsed.run)
    results: Dict[str, cost.TrainingCost] = {}
    metric = parsed.metric
    for name, work_dir in show_progress(parsed.run, 'runs'):
        try:
            log = read_training_log(work_dir)
            if parsed.cfg_options:
                change_config(log.config, parsed.cfg_options)
            results[name] = cost.measure_training_cost(
                log, metric, parsed.size, parsed.rule
            )
        except ValueError as error:
            raise ValueError(f"run '{name}': {error}") from None
        metric = results[name].metric
    numbers = {name: run._asdict() for name, run in results.items()}
    table, figure = cost.format_cost_table(results), cost.draw_costs(results)
    return table, numbers, figure


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('cost', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
