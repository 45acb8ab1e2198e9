"""Write a data set as a whole or not at all, and never over something else."""

import json
import shutil
from pathlib import Path
from typing import Callable, Dict


def is_complete(out: Path, manifest: dict, counts: Dict[str, int]) -> bool:
    """Tell whether ``out`` holds all of the data that ``manifest`` names.

    Raises:
        ValueError: If there is something else, which is not ours to replace.
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

    It is written under another name and renamed at the end, so that a run that
    is stopped, in whatever way, leaves nothing that looks like data.

    Args:
        out (Path): The folder to make.
        manifest (dict): What manifest.json will say; two data sets with the
            same manifest are the same. Has a ``dataset`` and a ``seed``.
        counts (Dict[str, int]): Number of files that the complete folder has
            for each glob pattern.
        write (Callable[[Path], None]): Writes all the rest into a new folder.

    Returns:
        bool: False if the data already existed.

    Raises:
        ValueError: If ``out`` holds something else, or the seed is negative.
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
    if out.exists():  # ours, with files missing: is_complete has looked
        shutil.rmtree(out)
    partial.rename(out)
    return True
