"""Write small labelled images into a folder that mmpretrain reads.

The splits are ``val`` and two parts of the training images for tuning,
``tune_train`` and ``tune_val``::

    OUT/train/<label>/<name>.png   the images of both tune splits
    OUT/val/<label>/<name>.png
    OUT/meta/tune_train.txt        lists of paths in train/ and label numbers
    OUT/meta/tune_val.txt
    OUT/manifest.json              what the folder contains
"""

from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple

import numpy as np
from PIL import Image
from rich.progress import track
from write_once import write_once


class LabelledImage(NamedTuple):
    """An image to write.

    Attributes:
        split: 'val', 'tune_val' or 'tune_train'.
        label: Its class, a number; labels of a data set have the same number
            of digits, so that folders sort like numbers.
        name: Name of the file, without ending.
        pixels: RGB (H, W, 3), uint8.
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
        out: The folder to create.
        dataset: Name of the data set.
        seed: Seed of all random numbers.
        num_images: Number of images in each split.
        make_images: Called only if the data do not exist.

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
