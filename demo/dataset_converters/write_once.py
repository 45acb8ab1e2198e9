"""Write a data set completely or not at all, and never overwrite another."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Callable, Dict, Optional, Sequence, Tuple


def is_complete(out: Path, manifest: dict, counts: Dict[str, int]) -> bool:
    """Return whether ``out`` has all data of ``manifest``.

    Raises:
        ValueError: If it contains something else, which must not be replaced.
    """
    if not out.exists():
        return False
    try:
        found = json.loads((out / 'manifest.json').read_text())
    except (OSError, ValueError):
        found = None
    if found != manifest:
        wanted = ', '.join(f'{key} {value}' for key, value in manifest.items())
        raise ValueError(
            f'--out {out} exists and is not {wanted} (its manifest.json: '
            f'{found}); remove it or choose another folder'
        )
    return all(
        len(list(out.glob(pattern))) == count
        for pattern, count in counts.items()
    )


def write_once(
    out: Path,
    manifest: dict,
    counts: Dict[str, int],
    write: Callable[[Path], None],
) -> bool:
    """Write a data set, unless it exists.

    Args:
        out: The folder to create.
        manifest: The content of manifest.json; two data sets with the same
            manifest are equal. Has a ``dataset`` and a ``seed``.
        counts: Number of files of the complete folder, by glob pattern.
        write: Writes everything else into a new folder.

    Returns:
        bool: False if the data already existed.

    Raises:
        ValueError: If ``out`` has other content, or the seed is negative.
    """
    if manifest['seed'] < 0:
        raise ValueError(f'--seed {manifest["seed"]}: must not be negative')
    if is_complete(out, manifest, counts):
        return False
    partial = out.with_name(out.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write(partial)
    (partial / 'manifest.json').write_text(json.dumps(manifest) + '\n')
    if out.exists():  # an incomplete one of this data set
        shutil.rmtree(out)
    partial.rename(out)
    return True


def run_converter(
    description: str,
    write: Callable[..., bool],
    out: str,
    args: Optional[Sequence[str]] = None,
    **numbers: Tuple[int, str],
) -> None:
    """Read the command line of a converter and write its data set.

    Args:
        description: Help text.
        write: Takes ``out``, ``seed`` and the numbers; returns False if the
            data already existed.
        out: Default of ``--out``.
        args: The command line. Default: the process's.
        **numbers: More options: the default and what it is a number of.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--out', type=Path, default=Path(out), help='output folder'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of all random numbers'
    )
    for name, (default, of_what) in numbers.items():
        parser.add_argument(
            '--' + name.replace('_', '-'),
            type=int,
            default=default,
            help=f'number of {of_what}',
        )
    options = vars(parser.parse_args(args))
    written = write(**options)
    print(f'{"Written to" if written else "Already in"} {options["out"]}')
