"""Score a trained network and its subnets: the loafing gap and its cure.

Networks that were trained alone are compared with the subnets of the same
depths.
"""

import argparse
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from run_analysis import (
    Measured,
    add_metric_and_rule,
    load_runner,
    read_rule,
    run_analysis,
)

from mmst.launch.command_line import add_networks, check_runs

if TYPE_CHECKING:
    from mmst.analysis.scores import Scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tool's flags."""
    add_networks(parser)
    parser.add_argument(
        '--alone',
        nargs=3,
        action='append',
        default=[],
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a network trained alone, drawn at the subnet with its depths; '
        'those with the same NAME form one line',
    )
    add_metric_and_rule(parser)


def measure(parsed: argparse.Namespace) -> Measured:
    """Score each network."""
    from mmst.analysis import loafing
    from mmst.analysis.results import label_metric
    from mmst.analysis.scores import MAIN, name_network
    from mmst.evaluation import list_uniform_depths
    from mmst.subnets import find_stages

    check_runs([*parsed.run, *parsed.alone], share_names=True)
    metric = parsed.metric
    alone: List[Tuple[str, Tuple[int, ...], float]] = []
    for name, *files in parsed.alone:
        runner = load_runner(parsed, *files)
        metric, scores = loafing.measure_loafing(runner, metric, subnets=())
        blocks = tuple(map(len, find_stages(runner.model)))
        alone.append((name, blocks, scores[MAIN]))
    results: Dict[str, List[Scores]] = {}
    for name, *files in parsed.run:
        runner = load_runner(parsed, *files)
        blocks = tuple(map(len, find_stages(runner.model)))
        subnets = parsed.depths
        if subnets is None:
            subnets = list_uniform_depths(blocks)
        twins = [
            depths
            for _, depths, _ in alone
            if len(depths) == len(blocks)
            and all(depth <= full for depth, full in zip(depths, blocks))
        ]
        metric, scores = loafing.measure_loafing(
            runner, metric, parsed.num_samples, subnets + twins
        )
        results.setdefault(name, []).append(scores)
    for name, depths, score in alone:
        results.setdefault(name, []).append({name_network(depths): score})
    rule = read_rule(parsed, metric, parsed.run[0][1])
    label = label_metric(metric, rule)
    return (
        f'{label}\n{loafing.format_loafing_table(results)}',
        dict(metric=metric, rule=rule, results=results),
        loafing.draw_loafing(results, label),
    )


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('loafing', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
