"""Export a subnet of a trained network as a smaller model.

Writes a folder with a checkpoint and a config of the stock toolbox, which does
not need mmst. Give the depths, or let them be chosen from the results of
tools/analysis_tools/accuracy_cost.py: the best network within the limits, or
the cheapest one that is good enough.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from mmst.launch.command_line import (
    add_cfg_options,
    add_checkpoint,
    add_num_samples,
    parse_depths,
)
from mmst.launch.short_errors import print_short_error

if TYPE_CHECKING:
    from mmst.analysis.accuracy_cost import MeasuredNetwork

# Endings of files that losses read, such as weights of classes.
FILES = ('.npy', '.npz', '.json', '.pkl', '.txt', '.csv', '.yml', '.pth')
#: Flags that choose among evaluated networks.
LIMITS = {
    'min_accuracy': (
        'SCORE',
        'choose the one with the fewest FLOPs whose score is this or '
        'better: at least this or, where less is better, at most',
    ),
    'max_flops': (
        'N',
        'choose among those with at most this many FLOPs, such as 3e9',
    ),
    'max_params': ('M', 'the same by parameters, in millions as in the table'),
    'max_latency': (
        'MS',
        'the same by the time for one image, in ms as in the table',
    ),
}


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
        '--size',
        type=int,
        metavar='PX',
        help='with --depths: make the images of the exported config smaller, '
        'to this shorter side of the validation images',
    )
    parser.add_argument(
        '--evaluated',
        metavar='JSON',
        help='choose among the networks in this accuracy_cost.json, written '
        'by tools/analysis_tools/accuracy_cost.py',
    )
    for name, (metavar, text) in LIMITS.items():
        parser.add_argument(
            f'--{name.replace("_", "-")}',
            type=float,
            metavar=metavar,
            help=f'with --evaluated: {text}',
        )
    parser.add_argument(
        '--rule',
        choices=['greater', 'less'],
        help='whether more or less of the metric is better; default: as the '
        "file says, else by the metric's name",
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
    for kind in ('onnx', 'torchscript'):
        parser.add_argument(
            f'--{kind}',
            dest='formats',
            action='append_const',
            const=kind,
            default=[],
            help=f'also write {kind}',
        )
    add_cfg_options(parser)
    parsed = parser.parse_args(args)
    if (parsed.depths is None) is (parsed.evaluated is None):
        parser.error('give either --depths, or --evaluated to choose from')
    has_limit = any(getattr(parsed, name) is not None for name in LIMITS)
    if (parsed.evaluated is not None) is not has_limit:
        parser.error(
            '--evaluated and one of --min-accuracy, --max-flops, --max-params '
            'and --max-latency go together'
        )
    if parsed.size is not None and parsed.depths is None:
        parser.error('--size goes with --depths: --evaluated has its own')
    return parsed


def choose_network(
    parsed: argparse.Namespace,
) -> Tuple['MeasuredNetwork', List[str]]:
    """Choose the best evaluated network that meets the limits.

    Returns:
        tuple: The network, and lines that say what it is.

    Raises:
        ValueError: If none meets them, or the file is not of evaluated
            networks.
    """
    from mmst.analysis.accuracy_cost import MeasuredNetwork, pick_network
    from mmst.analysis.results import choose_rule, label_metric

    try:
        evaluated = json.loads(Path(parsed.evaluated).read_text())
        metric = evaluated['metric']
        networks = [
            MeasuredNetwork(**dict(entry, depths=tuple(entry['depths'])))
            for entry in evaluated['networks']
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{parsed.evaluated} (--evaluated) is not what tools/'
            'analysis_tools/accuracy_cost.py writes'
        ) from error
    rule = choose_rule(metric, None, parsed.rule or evaluated.get('rule'))
    network = pick_network(
        networks,
        parsed.min_accuracy,
        parsed.max_flops,
        None if parsed.max_params is None else 1e6 * parsed.max_params,
        parsed.max_latency,
        rule,
    )
    told = network.describe(label_metric(metric, rule))
    print(f'Chosen: {told}')
    return network, [
        told,
        f'Time on {evaluated.get("device", "an unknown device")}, '
        f'{evaluated.get("threads", "?")} threads.',
    ]


def find_missing_files(part: Any, place: str = 'model') -> Dict[str, None]:
    """Find files that only the training loss needs and that are not there.

    An export is not trained, so it can do without.

    Args:
        part: A part of a config.
        place: Its place in the config.

    Returns:
        dict: ``None`` for the place of each file in the config, as
        ``Config.merge_from_dict`` takes it.
    """
    if isinstance(part, (list, tuple)):
        part = dict(enumerate(part))
    found: Dict[str, None] = {}
    if isinstance(part, dict):
        for key, value in part.items():
            found.update(find_missing_files(value, f'{place}.{key}'))
    elif '.loss' in place and isinstance(part, str) and part.endswith(FILES):
        if not Path(part).exists():
            found[place] = None
    return found


def main(args: Optional[Sequence[str]] = None) -> None:
    """Write the subnet, and say what is in the folder and what is not."""
    parsed = parse_args(args)

    # Seconds of imports, which --help does without.
    from mmengine.runner import CheckpointLoader

    from mmst.checkpoints.safe_load import safe_load
    from mmst.evaluation import shrink_pipelines
    from mmst.export import check_out, write_standalone
    from mmst.launch.configured_training import (
        check_depths,
        find_trained_space,
    )
    from mmst.launch.toolbox import read_config
    from mmst.launch.trained_runner import load_trained_runner

    notes: List[str] = []
    depths, size = parsed.depths, parsed.size
    if depths is None:
        network, notes = choose_network(parsed)
        depths, size = network.depths, network.size
    name = f'{Path(parsed.config).stem}_{"-".join(map(str, depths))}'
    if size is not None:
        name += f'_{size}px'
    out = parsed.out or Path('work_dirs', 'exported', name)
    check_out(out)
    options = dict(parsed.cfg_options or {})
    cfg = read_config(parsed.config, options)
    if size is not None:
        options.update(shrink_pipelines(cfg, size))
    missing = find_missing_files(cfg.model)
    if missing:
        notes.append(f'Left out, as the file is missing: {", ".join(missing)}')
        print(notes[-1])
    options.update(missing)
    cfg.merge_from_dict(options)
    with TemporaryDirectory() as log_dir:
        runner = load_trained_runner(
            parsed.config, parsed.checkpoint, log_dir, options
        )
        check_depths(find_trained_space(cfg, runner.model), depths)
        with safe_load():
            meta = CheckpointLoader.load_checkpoint(
                parsed.checkpoint, map_location='cpu'
            ).get('meta', {})
        needed = write_standalone(
            runner,
            cfg,
            depths,
            out,
            name,
            parsed.num_samples,
            meta.get('dataset_meta'),
            parsed.formats,
            parsed.calibrate,
            notes,
        )
    files = ', '.join(sorted(path.name for path in out.iterdir()))
    print(f'Written to {out}: {files}')
    if needed:
        print(
            'Needed to use it, and not in the folder: '
            + ', '.join(needed)
            + '. Keep them on PYTHONPATH, or installed'
        )


if __name__ == '__main__':
    sys.excepthook = print_short_error
    main()
