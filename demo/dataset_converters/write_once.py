"""Write a data set completely or not at all, and never overwrite another."""

import json
import shutil
from pathlib import Path
from typing import Callable, Dict


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

    It is written under another name and renamed at the end, so that a stopped
    run leaves nothing that looks complete.

    Args:
        out (Path): The folder to create.
        manifest (dict): The content of manifest.json; two data sets with the
            same manifest are equal. Has a ``dataset`` and a ``seed``.
        counts (Dict[str, int]): Number of files of the complete folder, for
            each glob pattern.
        write (Callable[[Path], None]): Writes everything else into a new
            folder.

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
