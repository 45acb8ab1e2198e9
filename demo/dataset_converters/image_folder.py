"""Write small labelled images into a folder that mmpretrain reads.

The splits are ``val`` and two parts of the training images for tuning,
``tune_train`` and ``tune_val``::

    OUT/train/<label>/<name>.png   the images of both tune splits
    OUT/val/<label>/<name>.png
    OUT/meta/tune_train.txt        lists of paths in train/ and label numbers
    OUT/meta/tune_val.txt
    OUT/manifest.json              what the folder contains
"""

import argparse
from pathlib import Path
from typing import (
    Callable,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
)

import numpy as np
from PIL import Image
from rich.progress import track
from write_once import write_once


class LabelledImage(NamedTuple):
    """An image to write.

    Attributes:
        split (str): 'val', 'tune_val' or 'tune_train'.
        label (str): Its class, a number; labels of a data set have the same
            number of digits, so that folders sort like numbers.
        name (str): Name of the file, without ending.
        pixels (np.ndarray): RGB (H, W, 3), uint8.
    """

    split: str
    label: str
    name: str
    pixels: np.ndarray


def write_image_folder(
    out: Path,
    dataset: str,
    seed: int,
    num_images: Dict[str, int],
    make_images: Callable[[], Iterable[LabelledImage]],
) -> bool:
    """Write a data set, unless it exists.

    Args:
        out (Path): The folder to create.
        dataset (str): Name of the data set.
        seed (int): Seed of all random numbers.
        num_images (Dict[str, int]): Number of images in each split.
        make_images (Callable): Called only if the data do not exist.

    Returns:
        bool: False if the data already existed.

    Raises:
        ValueError: If ``out`` has other content, or ``seed`` is negative.
    """
    num_train = num_images['tune_train'] + num_images['tune_val']
    manifest = dict(
        dataset=dataset,
        version=1,
        seed=seed,
        num_train=num_train,
        num_val=num_images['val'],
    )
    counts = {
        'meta/tune_*.txt': 2,
        'train/*/*.png': num_train,
        'val/*/*.png': num_images['val'],
    }

    def write(folder: Path) -> None:
        total = num_train + num_images['val']
        write_images(
            folder, track(make_images(), description=dataset, total=total)
        )

    return write_once(out, manifest, counts, write)


def write_images(out: Path, images: Iterable[LabelledImage]) -> None:
    """Write images and the lists of the tune splits."""
    lists: Dict[str, List[str]] = dict(tune_train=[], tune_val=[])
    for split, label, name, pixels in images:
        folder = 'val' if split == 'val' else 'train'
        path = out / folder / label / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        if split in lists:
            lists[split].append(f'{label}/{path.name} {int(label)}\n')
    (out / 'meta').mkdir()
    for split, lines in lists.items():
        (out / 'meta' / f'{split}.txt').write_text(''.join(lines))


def run_converter(
    description: str,
    default_out: Path,
    write: Callable[[Path, int], bool],
    args: Optional[Sequence[str]] = None,
) -> None:
    """Read the command line of a converter and write its data set.

    Args:
        description (str): Help text.
        default_out (Path): Default of ``--out``.
        write (Callable): Takes the folder and the seed; returns False if the
            data already existed.
        args (Sequence[str], optional): Default: the process's arguments.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--out',
        type=Path,
        default=default_out,
        help='output folder; default: %(default)s',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='random seed for splits and patches; default: 0',
    )
    parsed = parser.parse_args(args)
    written = write(parsed.out, parsed.seed)
    print(f'{"Written to" if written else "Already in"} {parsed.out}')
