"""Measure what the centre of a stage's output sees of the input (Fig. 6).

The effective receptive field of networks and their subnets at one or more
input sizes: as heat maps, and as the sides of the centred squares that hold
20, 30, 50 and 99 % of all contribution.
"""

import argparse
from typing import List, Optional, Sequence

import torch
from mmengine.runner import Runner

from mmst.analysis.receptive_field import (
    SHARES,
    Field,
    choose_stage,
    format_receptive_field_table,
    load_input_images,
    measure_receptive_field,
)
from mmst.analysis.receptive_field_figure import draw_receptive_fields
from mmst.analysis.results import write_results
from mmst.analysis.scores import list_networks, name_network
from mmst.evaluation import run_as_subnet
from mmst.launch.command_line import add_networks, add_out, check_runs
from mmst.launch.trained_runner import load_trained_runner


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_networks(parser)
    add_out(parser, 'receptive_field')
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
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Measure each network, print a table, write it as JSON and PNG."""
    parsed = parse_args(args)
    if min(parsed.num_images, *parsed.sizes) < 1:
        raise ValueError('--num-images and --sizes must be at least 1')
    check_runs(parsed.run)
    fields: List[Field] = []
    for run, config, checkpoint in parsed.run:
        runner = load_trained_runner(
            config, checkpoint, parsed.out, parsed.cfg_options
        )
        stage = choose_stage(runner.model, parsed.stage)
        for depths in list_networks(runner, parsed.depths):
            with run_as_subnet(runner, depths, parsed.num_samples):
                for size in parsed.sizes:
                    name = name_network(depths)
                    runner.logger.info(f'{run}: {name} at {size} px')
                    fields.append(
                        Field(
                            run,
                            name,
                            size,
                            measure_receptive_field(
                                runner.model,
                                make_images(runner, size, parsed),
                                stage,
                            ),
                        )
                    )
    print(
        f'Sides of the squares that hold a share of the contribution\n'
        f'{format_receptive_field_table(fields)}'
    )
    numbers = [
        dict(
            run=field.run,
            network=field.network,
            size=field.size,
            sides={f'{share:.0%}': field.sides[share] for share in SHARES},
        )
        for field in fields
    ]
    write_results(
        parsed.out, 'receptive_field', numbers, draw_receptive_fields(fields)
    )


def make_images(
    runner: Runner, size: int, args: argparse.Namespace
) -> torch.Tensor:
    """Load the images that the command line asks for, (N, C, size, size)."""
    if not args.noise:
        return load_input_images(runner, size, args.num_images)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(args.num_images, 3, size, size, generator=generator)
    return images.to(next(runner.model.parameters()).device)


if __name__ == '__main__':
    main()
