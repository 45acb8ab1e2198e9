"""Write scenes in Cityscapes' layout, for semantic segmentation."""

from pathlib import Path
from typing import Iterable

import numpy as np
from PIL import Image
from scene import CHINA, FLOWER, PANEL, PUPPET, Scene

#: Training ids (of 0 to 18) of the Cityscapes classes that represent what is
#: shown.
TRAIN_IDS = {
    PUPPET: 11,  # person
    # pole, traffic light, traffic sign; rider to bicycle
    **dict(zip('0123456789', (5, 6, 7, 12, 13, 14, 15, 16, 17, 18))),
    CHINA: 2,  # building
    FLOWER: 8,  # vegetation
    PANEL: 3,  # wall
}
#: Label of pixels that count neither in training nor in the score.
IGNORED = 255
#: The layout sorts images by city.
CITY = 'digits'


def write_cityscapes(root: Path, split: str, scenes: Iterable[Scene]) -> None:
    """Write a split's images and label maps.

    Args:
        root: Cityscapes' folder, which may contain another split.
        split: 'train' or 'val'.
        scenes: The scenes; iterated over once.
    """
    images_dir, labels_dir = (
        root / part / split / CITY for part in ('leftImg8bit', 'gtFine')
    )
    images_dir.mkdir(parents=True)
    labels_dir.mkdir(parents=True)
    for index, scene in enumerate(scenes):
        stem = f'{CITY}_{index:06d}_000000'
        ids = [IGNORED] + [TRAIN_IDS[kind] for kind in scene.kinds.values()]
        Image.fromarray(scene.image.round().astype(np.uint8)).save(
            images_dir / f'{stem}_leftImg8bit.png'
        )
        Image.fromarray(np.array(ids, np.uint8)[scene.owners]).save(
            labels_dir / f'{stem}_gtFine_labelTrainIds.png'
        )
