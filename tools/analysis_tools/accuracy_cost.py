"""Accuracy of a trained network's subnets against what they cost.

One training, many depths: FLOPs, parameters and time of each subnet as
tools/export_subnet.py exports it, which can choose from what this writes.
"""

import argparse
from typing import Optional, Sequence

import torch

from mmst.analysis.accuracy_cost import (
    candidate_depths,
    family_table,
    measure_family,
)
from mmst.analysis.accuracy_cost_figure import draw_family
from mmst.analysis.command_line import add_out_arguments, depths_argument
from mmst.analysis.metric_names import metric_label
from mmst.analysis.results import write_results
from mmst.launch.toolbox import read_config
from mmst.launch.trained_runner import load_trained_runner
from mmst.launch.trained_space import find_trained_space


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config of the training')
    parser.add_argument('checkpoint', help='what it gave')
    parser.add_argument(
        '--depths',
        nargs='+',
        type=depths_argument,
        metavar='D-D-D',
        help='subnets, by the blocks kept in each stage, as in 3-3-4-3; '
        "default: those of the config's sampling space",
    )
    parser.add_argument(
        '--most',
        type=int,
        default=32,
        help='of a larger space, take so many subnets; default: %(default)s',
    )
    parser.add_argument(
        '--metric',
        help='such as accuracy/top1 or coco/bbox_mAP; default: '
        'the usual one of the task',
    )
    parser.add_argument(
        '--num-samples',
        type=int,
        default=2000,
        help="training images for each subnet's BatchNorm statistics",
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=2.0,
        metavar='S',
        help='how long to time each subnet, the shortest time counts; '
        'default: %(default)s',
    )
    add_out_arguments(parser, 'accuracy_cost')
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
    subnets = parsed.depths or candidate_depths(
        runner, find_trained_space(cfg, runner.model), parsed.most
    )
    metric, networks = measure_family(
        runner, subnets, parsed.metric, parsed.num_samples, parsed.seconds
    )
    device = next(runner.model.parameters()).device.type
    print(
        f'Time on {device}, {torch.get_num_threads()} threads\n'
        + family_table(networks, metric_label(metric))
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
        draw_family(networks, metric_label(metric)),
    )


if __name__ == '__main__':
    main()
