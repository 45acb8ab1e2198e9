"""Score a trained network and its subnets: the loafing gap and its cure.

Networks that were trained alone are compared with the subnets of the same
depths.
"""

import argparse
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.runner import Runner

from mmst.analysis.loafing import format_loafing_table, measure_loafing
from mmst.analysis.loafing_figure import draw_loafing
from mmst.analysis.metric_names import label_metric
from mmst.analysis.results import write_results
from mmst.analysis.scores import MAIN, Scores, name_network
from mmst.evaluation import list_uniform_depths
from mmst.launch.command_line import (
    add_metric,
    add_networks,
    add_out,
    check_runs,
)
from mmst.launch.trained_runner import load_trained_runner
from mmst.subnets import find_stages


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_networks(parser)
    add_out(parser, 'loafing')
    parser.add_argument(
        '--alone',
        nargs=3,
        action='append',
        default=[],
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a network trained alone, drawn at the subnet with its depths; '
        'those with the same NAME form one line',
    )
    add_metric(parser)
    return parser.parse_args(args)


def count_blocks(runner: Runner) -> Tuple[int, ...]:
    """Count the blocks of each stage."""
    return tuple(len(stage) for stage in find_stages(runner.model))


def choose_subnets(
    runner: Runner,
    asked: Optional[List[Tuple[int, ...]]],
    alone: List[Tuple[int, ...]],
) -> List[Tuple[int, ...]]:
    """Choose the subnets to score, with twins of networks trained alone."""
    blocks = count_blocks(runner)
    subnets = list(list_uniform_depths(blocks) if asked is None else asked)
    return subnets + [
        depths
        for depths in alone
        if depths not in subnets
        and len(depths) == len(blocks)
        and all(depth <= full for depth, full in zip(depths, blocks))
    ]


def main(args: Optional[Sequence[str]] = None) -> None:
    """Score each network, print a table, write it as JSON and PNG."""
    parsed = parse_args(args)
    check_runs([*parsed.run, *parsed.alone], share_names=True)
    metric, results = parsed.metric, {}
    alone: Dict[str, List[Scores]] = {}
    depths: List[Tuple[int, ...]] = []
    for name, config, checkpoint in parsed.alone:
        runner = load_trained_runner(
            config, checkpoint, parsed.out, parsed.cfg_options
        )
        metric, scores = measure_loafing(runner, metric, subnets=())
        depths.append(count_blocks(runner))
        alone.setdefault(name, []).append(
            {name_network(depths[-1]): scores[MAIN]}
        )
    for name, config, checkpoint in parsed.run:
        runner = load_trained_runner(
            config, checkpoint, parsed.out, parsed.cfg_options
        )
        metric, scores = measure_loafing(
            runner,
            metric,
            parsed.num_samples,
            choose_subnets(runner, parsed.depths, list(dict.fromkeys(depths))),
        )
        results.setdefault(name, []).append(scores)
    for name, runs in alone.items():
        results.setdefault(name, []).extend(runs)
    print(f'{label_metric(metric)}\n{format_loafing_table(results)}')
    write_results(
        parsed.out,
        'loafing',
        dict(metric=metric, results=results),
        draw_loafing(results, label_metric(metric)),
    )


if __name__ == '__main__':
    main()
