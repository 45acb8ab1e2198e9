"""Export a subnet of a trained network as a smaller model.

Writes a folder with a checkpoint and a config of the stock toolbox, which does
not need mmst. Give the depths, or let them be chosen from the results of
tools/analysis_tools/accuracy_cost.py.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Optional, Sequence, Tuple

from mmengine.runner import CheckpointLoader

from mmst.analysis.accuracy_cost import MeasuredNetwork, pick_network
from mmst.checkpoints.safe_load import safe_load
from mmst.export import FORMATS, check_out, write_standalone
from mmst.launch.command_line import (
    add_cfg_options,
    add_checkpoint,
    add_num_samples,
    parse_depths,
)
from mmst.launch.toolbox import read_config
from mmst.launch.trained_runner import load_trained_runner
from mmst.launch.trained_space import check_depths, find_trained_space


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_checkpoint(parser)
    parser.add_argument(
        '--depths',
        type=parse_depths,
        metavar='D-D-D',
        help='blocks to keep in each stage, as in 3-3-4-3',
    )
    parser.add_argument(
        '--evaluated',
        metavar='JSON',
        help='choose among the subnets in this accuracy_cost.json, written by '
        'tools/analysis_tools/accuracy_cost.py',
    )
    parser.add_argument(
        '--min-accuracy',
        type=float,
        help='with --evaluated: choose the cheapest with at least this score',
    )
    parser.add_argument(
        '--max-flops',
        type=float,
        help='with --evaluated: choose the best with at most this many '
        'multiply-adds, or the cheapest if --min-accuracy is given',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='output folder; default: '
        'work_dirs/exported/<name of the config>_<depths>',
    )
    add_num_samples(parser)
    parser.add_argument(
        '--calibrate',
        action='store_true',
        help='calibrate the scores of a classifier: fit a temperature on '
        '--num-samples training images, and put it into the last layer',
    )
    for kind, ending in FORMATS.items():
        parser.add_argument(
            f'--{kind}',
            dest='formats',
            action='append_const',
            const=kind,
            help=f'also write NAME{ending}',
        )
    add_cfg_options(parser)
    parsed = parser.parse_args(args)
    bounds = (parsed.min_accuracy, parsed.max_flops)
    if (parsed.depths is None) is (parsed.evaluated is None):
        parser.error('give either --depths, or --evaluated to choose from')
    if (parsed.evaluated is None) is not (bounds == (None, None)):
        parser.error(
            '--evaluated and one of --min-accuracy and --max-flops go together'
        )
    return parsed


def choose_depths(parsed: argparse.Namespace) -> Tuple[int, ...]:
    """Choose the given depths, or those of the best evaluated subnet.

    Raises:
        ValueError: If none fits, or the file is not of evaluated subnets.
    """
    if parsed.depths is not None:
        return parsed.depths
    try:
        evaluated = json.loads(Path(parsed.evaluated).read_text())
        networks = [
            MeasuredNetwork(**entry) for entry in evaluated['networks']
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{parsed.evaluated} (--evaluated) is not what tools/'
            'analysis_tools/accuracy_cost.py writes'
        ) from error
    network = pick_network(networks, parsed.min_accuracy, parsed.max_flops)
    print(
        f'Chosen: {network.depths}, {evaluated["metric"]} '
        f'{network.score:.4g}, {network.flops:,} multiply-adds'
    )
    return tuple(network.depths)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Export the subnet."""
    parsed = parse_args(args)
    depths = choose_depths(parsed)
    name = f'{Path(parsed.config).stem}_{"-".join(map(str, depths))}'
    out = parsed.out or Path('work_dirs', 'exported', name)
    check_out(out)
    cfg = read_config(parsed.config)
    if parsed.cfg_options:
        cfg.merge_from_dict(parsed.cfg_options)
    with TemporaryDirectory() as log_dir:
        runner = load_trained_runner(
            parsed.config, parsed.checkpoint, log_dir, parsed.cfg_options
        )
        check_depths(find_trained_space(cfg, runner.model), depths)
        with safe_load():
            meta = CheckpointLoader.load_checkpoint(
                parsed.checkpoint, map_location='cpu'
            ).get('meta', {})
        left = write_standalone(
            runner,
            cfg,
            depths,
            out,
            name,
            parsed.num_samples,
            meta.get('dataset_meta'),
            parsed.formats or (),
            parsed.calibrate,
        )
    print(
        f'Written to {out}: '
        + ', '.join(sorted(path.name for path in out.iterdir()))
    )
    if left:
        print(f'Not in the folder, and needed: {", ".join(left)}')


if __name__ == '__main__':
    main()
