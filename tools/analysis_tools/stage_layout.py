"""Blocks per stage of configs' backbones, and sampling spaces (Fig. 7).

For each backbone the spaces that the inter-stage sampling rule proposes, in
both spellings, with the number of subnets and what they cost. Weights and
data are not needed.
"""

import argparse
from contextlib import closing
from pathlib import Path
from typing import Dict, Optional, Sequence

from rich.console import Console
from rich.progress import track

import mmst  # noqa: F401  registers its modules, custom_imports or not
from mmst.analysis.results import write_results
from mmst.analysis.stage_layout import (
    Layout,
    format_layout_table,
    measure_stage_layout,
)
from mmst.analysis.stage_layout_figure import draw_layouts
from mmst.launch.command_line import (
    add_cfg_options,
    add_image_size,
    add_out,
)
from mmst.launch.configured_training import (
    build_backbone,
    make_training_image,
    read_sampler,
)
from mmst.launch.toolbox import read_config


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
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
    add_out(parser, 'stage_layout')
    add_cfg_options(parser)
    return parser.parse_args(args)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Lay out each backbone, print tables, write them as JSON and PNG."""
    parsed = parse_args(args)
    names = [Path(config).stem for config in parsed.configs]
    if len(set(names)) < len(names):
        names = parsed.configs  # config.py of several folders
    layouts: Dict[str, Layout] = {}
    with closing(
        track(
            list(zip(names, parsed.configs)),
            'backbones',
            transient=True,
            console=Console(stderr=True),
        )
    ) as configs:
        for name, config in configs:
            cfg = read_config(config)
            cfg.merge_from_dict(parsed.cfg_options or {})
            backbone = build_backbone(cfg)
            layouts[name] = measure_stage_layout(
                backbone,
                make_training_image(cfg, parsed.size),
                read_sampler(cfg, backbone),
                parsed.min_depths,
            )
    for name, layout in layouts.items():
        print(format_layout_table(name, layout) + '\n')
    numbers = {
        name: dict(
            layout._asdict(), proposals=[p._asdict() for p in layout.proposals]
        )
        for name, layout in layouts.items()
    }
    write_results(parsed.out, 'stage_layout', numbers, draw_layouts(layouts))


if __name__ == '__main__':
    main()
