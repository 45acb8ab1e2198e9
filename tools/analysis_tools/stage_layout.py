"""Blocks per stage of configs' backbones, and sampling spaces (Fig. 7).

For each backbone the spaces that the inter-stage sampling rule proposes, in
both spellings, with the number of subnets and what they cost. Weights and
data are not needed.
"""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from run_analysis import Measured, run_analysis

from mmst.launch.command_line import add_cfg_options, add_image_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the tool's flags."""
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    add_image_size(parser)
    parser.add_argument(
        '--min-depths',
        nargs='+',
        type=int,
        default=[1, 2, 3],
        metavar='M',
        help='propose spaces that keep at least M blocks in every '
        'stage; default: 1 2 3',
    )
    add_cfg_options(parser)


def measure(parsed: argparse.Namespace) -> Measured:
    """Lay out each backbone."""
    import mmst.registry  # noqa: F401  configs may not import mmst
    from mmst.analysis import stage_layout
    from mmst.analysis.results import show_progress
    from mmst.launch.configured_training import (
        build_backbone,
        make_training_image,
        read_sampler,
    )
    from mmst.launch.toolbox import read_config

    names = [Path(config).stem for config in parsed.configs]
    if len(set(names)) < len(names):
        names = parsed.configs  # config.py of several folders
    layouts = {}
    runs = list(zip(names, parsed.configs))
    for name, config in show_progress(runs, 'backbones'):
        cfg = read_config(config, parsed.cfg_options)
        backbone = build_backbone(cfg)
        layouts[name] = stage_layout.measure_stage_layout(
            backbone,
            make_training_image(cfg, parsed.size),
            read_sampler(cfg, backbone),
            parsed.min_depths,
        )
    numbers = {
        name: dict(
            layout._asdict(), proposals=[p._asdict() for p in layout.proposals]
        )
        for name, layout in layouts.items()
    }
    tables = [
        stage_layout.format_layout_table(name, layout)
        for name, layout in layouts.items()
    ]
    return '\n\n'.join(tables), numbers, stage_layout.draw_layouts(layouts)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Run the analysis."""
    run_analysis('stage_layout', __doc__, add_arguments, measure, args)


if __name__ == '__main__':
    main()
