"""Measure what the centre of a stage's output sees of the input (Fig. 6).

The effective receptive field of networks and their subnets at one or more
input sizes: as heat maps, and as the sides of the centred squares that hold
20, 30, 50 and 99 % of all contribution.
"""

import argparse
from typing import TYPE_CHECKING, List, Optional, Sequence

from run_analysis import Measured, load_runner, run_analysis

from mmst.launch.command_line import add_networks, check_runs

if TYPE_CHECKING:
    from mmengine.runner import Runner
    from torch import Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tool's flags."""
    add_networks(parser)
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=int,
        default=[224],
        metavar='PX',
        help='sides of the square inputs; default: 224',
    )
    parser.add_argument(
        '--stage',
        help='stage to measure, such as layer3; default: the last one',
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=50,
        help='validation images to average over; default: 50',
    )
    parser.add_argument(
        '--noise',
        action='store_true',
        help='use images of Gaussian noise instead',
    )


def measure(parsed: argparse.Namespace) -> Measured:
    """Measure each network at each size."""
    from mmst.analysis import receptive_field
    from mmst.analysis.results import show_progress
    from mmst.analysis.scores import list_networks, name_network
    from mmst.evaluation import run_as_subnet

    if min(parsed.num_images, *parsed.sizes) < 1:
        raise ValueError('--num-images and --sizes must be at least 1')
    check_runs(parsed.run)
    fields: List[receptive_field.Field] = []
    for run, *files in parsed.run:
        runner = load_runner(parsed, *files)
        stage = receptive_field.choose_stage(runner.model, parsed.stage)
        networks = list_networks(runner, parsed.depths)
        for depths in show_progress(networks, 'networks'):
            with run_as_subnet(runner, depths, parsed.num_samples):
                for size in parsed.sizes:
                    images = make_images(runner, size, parsed)
                    found = receptive_field.measure_receptive_field(
                        runner.model, images, stage
                    )
                    network = name_network(depths)
                    fields.append(
                        receptive_field.Field(run, network, size, found)
                    )
    table = receptive_field.format_receptive_field_table(fields)
    numbers = [
        dict(
            run=field.run,
            network=field.network,
            size=field.size,
            sides={
                f'{share:.0%}': side for share, side in field.sides.items()
            },
        )
        for field in fields
    ]
    return (
        f'Sides of the squares that hold a share of the contribution\n{table}',
        numbers,
        receptive_field.draw_receptive_fields(fields),
    )


def make_images(
    runner: 'Runner', size: int, parsed: argparse.Namespace
) -> 'Tensor':
    """Load the images that the command line asks for, (N, C, size, size)."""
    import torch

    from mmst.analysis.receptive_field import load_input_images

    if not parsed.noise:
        return load_input_images(runner, size, parsed.num_images)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(parsed.num_images, 3, size, size, generator=generator)
    return images.to(next(runner.model.parameters()).device)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('receptive_field', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
