"""Flags that the analysis tools share."""

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Sequence, Tuple

from mmengine.config import DictAction


def depths_argument(text: str) -> Tuple[int, ...]:
    """Depths as the command line spells them, such as '3-3-4-3'.

    Raises:
        ArgumentTypeError: If the text is not that.
    """
    parts = text.split('-')
    if not all(part.isdigit() for part in parts):
        raise ArgumentTypeError(
            f"'{text}' is not the blocks kept in each stage, as in 3-3-4-3"
        )
    return tuple(map(int, parts))


def check_runs(
    runs: Sequence[Tuple[str, ...]], share_names: bool = False
) -> None:
    """Refuse what would fail later, before anything is measured.

    Args:
        runs: A name and paths of each.
        share_names: Whether several may have one name, as seeds of a method.

    Raises:
        ValueError: If results of two runs would have one name, or a name would
            not be in a picture's legend.
        FileNotFoundError: If a path is not there.
    """
    names = [name for name, *_ in runs]
    for name in names:
        if name.startswith('_'):
            raise ValueError(
                f"a run is named '{name}': legends leave out names that begin "
                'with an underscore, give it another'
            )
        if names.count(name) > 1 and not share_names:
            raise ValueError(
                f"two runs are named '{name}': give each another name"
            )
    for name, *paths in runs:
        for path in paths:
            if '://' not in path and not Path(path).exists():
                raise FileNotFoundError(f"{path} of run '{name}' is not there")


def add_out_arguments(parser: ArgumentParser, name: str) -> None:
    """Add where to write, and changes to the configs.

    Args:
        parser: The tool's parser.
        name: What the tool writes, without ending.
    """
    parser.add_argument(
        '--out',
        default=Path('work_dirs', name),
        type=Path,
        help=f'folder for {name}.json and {name}.png; default: %(default)s',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change values of the configs',
    )


def add_network_arguments(parser: ArgumentParser, name: str) -> None:
    """Add trained networks and the choice of their subnets.

    Args:
        parser: The tool's parser.
        name: What the tool writes, without ending.
    """
    parser.add_argument(
        '--run',
        nargs=3,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a trained network; give it several times to compare',
    )
    parser.add_argument(
        '--depths',
        nargs='*',
        type=depths_argument,
        metavar='D-D-D',
        help='subnets, by the blocks kept in each stage, as in 3-3-4-3; '
        'default: 1, 2 ... blocks in every stage; without a value: none',
    )
    parser.add_argument(
        '--num-samples',
        type=int,
        default=2000,
        help="training images for each subnet's BatchNorm statistics",
    )
    add_out_arguments(parser, name)
