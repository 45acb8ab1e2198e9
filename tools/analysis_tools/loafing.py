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

Depths = Tuple[int, ...]


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


def choose_subnets(
    blocks: Depths, asked: Optional[List[Depths]], alone: List[Depths]
) -> List[Depths]:
    """Choose the subnets to score, with twins of networks trained alone.

    Args:
        blocks: Number of blocks in each stage.
        asked: The depths of each subnet asked for; ``None`` for uniform ones.
        alone: The blocks of each network trained alone.
    """
    from mmst.evaluation import list_uniform_depths

    subnets = list(list_uniform_depths(blocks) if asked is None else asked)
    return subnets + [
        depths
        for depths in dict.fromkeys(alone)
        if depths not in subnets
        and len(depths) == len(blocks)
        and all(depth <= full for depth, full in zip(depths, blocks))
    ]


def measure(parsed: argparse.Namespace) -> Measured:
    """Score each network."""
    from mmst.analysis.loafing import (
        draw_loafing,
        format_loafing_table,
        measure_loafing,
    )
    from mmst.analysis.results import label_metric
    from mmst.analysis.scores import MAIN, name_network
    from mmst.subnets import find_stages

    check_runs([*parsed.run, *parsed.alone], share_names=True)
    metric = parsed.metric
    alone: Dict[str, List[Scores]] = {}
    results: Dict[str, List[Scores]] = {}
    depths: List[Depths] = []
    for name, *files in parsed.alone:
        runner = load_runner(parsed, *files)
        metric, scores = measure_loafing(runner, metric, subnets=())
        depths.append(tuple(map(len, find_stages(runner.model))))
        alone.setdefault(name, []).append(
            {name_network(depths[-1]): scores[MAIN]}
        )
    for name, *files in parsed.run:
        runner = load_runner(parsed, *files)
        blocks = tuple(map(len, find_stages(runner.model)))
        metric, scores = measure_loafing(
            runner,
            metric,
            parsed.num_samples,
            choose_subnets(blocks, parsed.depths, depths),
        )
        results.setdefault(name, []).append(scores)
    for name, runs in alone.items():
        results.setdefault(name, []).extend(runs)
    rule = read_rule(parsed, metric, parsed.run[0][1])
    label = label_metric(metric, rule)
    table = f'{label}\n{format_loafing_table(results)}'
    numbers = dict(metric=metric, rule=rule, results=results)
    return table, numbers, draw_loafing(results, label)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('loafing', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
