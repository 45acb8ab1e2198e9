"""Accuracy of a trained network's subnets against what they cost.

One training, many depths: FLOPs, parameters and time of each subnet as
tools/export_subnet.py exports it, which can choose from what this writes.
"""

import argparse
from typing import Optional, Sequence

import torch

from mmst.analysis.accuracy_cost import (
    choose_candidates,
    format_family_table,
    measure_family,
)
from mmst.analysis.accuracy_cost_figure import draw_family
from mmst.analysis.metric_names import label_metric
from mmst.analysis.results import write_results
from mmst.launch.command_line import (
    add_cfg_options,
    add_checkpoint,
    add_metric,
    add_num_samples,
    add_out,
    add_subnets,
)
from mmst.launch.toolbox import read_config
from mmst.launch.trained_runner import load_trained_runner
from mmst.launch.trained_space import find_trained_space


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_checkpoint(parser)
    add_subnets(parser, default="those of the config's sampling space")
    parser.add_argument(
        '--max-subnets',
        type=int,
        default=32,
        metavar='N',
        help='evaluate at most N subnets of the space; default: %(default)s',
    )
    add_metric(parser)
    add_num_samples(parser)
    parser.add_argument(
        '--seconds',
        type=float,
        default=2.0,
        metavar='S',
        help='seconds to time each subnet; the shortest time counts; '
        'default: %(default)s',
    )
    add_out(parser, 'accuracy_cost')
    add_cfg_options(parser)
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Measure, print a table, write it as JSON and PNG."""
    parsed = parse_args(args)
    cfg = read_config(parsed.config)
    if parsed.cfg_options:
        cfg.merge_from_dict(parsed.cfg_options)
    runner = load_trained_runner(
        parsed.config, parsed.checkpoint, parsed.out, parsed.cfg_options
    )
    subnets = parsed.depths
    if subnets is None:
        space = find_trained_space(cfg, runner.model)
        subnets = choose_candidates(runner, space, parsed.max_subnets)
    metric, networks = measure_family(
        runner, subnets, parsed.metric, parsed.num_samples, parsed.seconds
    )
    device = next(runner.model.parameters()).device.type
    print(
        f'Time on {device}, {torch.get_num_threads()} threads\n'
        + format_family_table(networks, label_metric(metric))
    )
    write_results(
        parsed.out,
        'accuracy_cost',
        dict(
            metric=metric,
            device=device,
            threads=torch.get_num_threads(),
            networks=[network._asdict() for network in networks],
        ),
        draw_family(networks, label_metric(metric)),
    )


if __name__ == '__main__':
    main()
