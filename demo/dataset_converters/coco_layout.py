"""Write scenes in COCO's layout: instances, keypoints and panoptic."""

import json
from pathlib import Path
from typing import Dict, Iterable, List

import numpy as np
from coco_categories import STUFF, THINGS
from PIL import Image
from puppet import KEYPOINTS, SKELETON
from pycocotools import mask as coco_mask
from scene import CHINA, FLOWER, PANEL, PUPPET, Scene

#: Ids of the COCO categories that represent what is shown: person for a
#: puppet, bicycle to fire hydrant for the digits.
CATEGORY_IDS = {
    PUPPET: 1,
    **{str(digit): 2 + digit for digit in range(10)},
    CHINA: 197,  # building-other-merged
    FLOWER: 119,  # flower
    PANEL: 92,  # banner
}
#: Ids of the first images: splits share no ids.
FIRST_IMAGE_IDS = dict(train=1, val=500001)
#: A segment's id in a panoptic file is its number times this, in 24 bits: an
#: odd factor keeps ids different, a large one makes colours differ visibly.
SEGMENT_ID_FACTOR, NUM_SEGMENT_IDS = 0x9E3779, 1 << 24


def write_coco(root: Path, split: str, scenes: Iterable[Scene]) -> None:
    """Write a split's images and its three annotation files.

    Args:
        root: COCO's folder, which may contain another split.
        split: 'train' or 'val'.
        scenes: The scenes; iterated over once.
    """
    name = f'{split}2017'
    panoptic_dir = root / 'annotations' / f'panoptic_{name}'
    for folder in (root / name, panoptic_dir):
        folder.mkdir(parents=True)
    images: List[dict] = []
    annotations: Dict[str, List[dict]] = dict(
        instances=[], person_keypoints=[], panoptic=[]
    )
    for image_id, scene in enumerate(scenes, start=FIRST_IMAGE_IDS[split]):
        stem = f'{image_id:012d}'
        Image.fromarray(scene.image.round().astype(np.uint8)).save(
            root / name / f'{stem}.jpg', quality=95
        )
        ids = scene.owners * SEGMENT_ID_FACTOR % NUM_SEGMENT_IDS
        colours = np.stack((ids % 256, ids // 256 % 256, ids // 65536), -1)
        Image.fromarray(colours.astype(np.uint8)).save(
            panoptic_dir / f'{stem}.png'
        )
        image = dict(id=image_id, file_name=f'{stem}.jpg')
        image['height'], image['width'] = ids.shape
        images.append(image)
        for kind, entries in annotate(scene, image_id).items():
            annotations[kind] += entries
        entry = dict(image_id=image_id, file_name=f'{stem}.png')
        entry['segments_info'] = list_segments(scene)
        annotations['panoptic'].append(entry)
    for kind, categories in list_categories().items():
        content = dict(images=images, categories=categories)
        content['annotations'] = annotations[kind]
        file = root / 'annotations' / f'{kind}_{name}.json'
        file.write_text(json.dumps(content))


def list_categories() -> Dict[str, List[dict]]:
    """Return the categories of each kind of annotation file.

    These are all of COCO's, because heads for COCO can predict any of them;
    ``shows`` is what represents a category in the images.
    """
    shows = {number: kind for kind, number in CATEGORY_IDS.items()}
    things, stuff = (
        [
            dict(id=i, name=name, isthing=isthing, shows=shows.get(i))
            for i, name in table.items()
        ]
        for table, isthing in ((THINGS, 1), (STUFF, 0))
    )
    number = {name: i for i, name in enumerate(KEYPOINTS, start=1)}
    skeleton = [[number[start], number[end]] for start, end in SKELETON]
    person = dict(things[0], keypoints=KEYPOINTS, skeleton=skeleton)
    return dict(
        instances=things, person_keypoints=[person], panoptic=things + stuff
    )


def describe(mask: np.ndarray, kind: str) -> dict:
    """Return what annotations of a mask share; bool (height, width)."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(
        category_id=CATEGORY_IDS[kind],
        iscrowd=0,
        area=int(coco_mask.area(rle)),
        bbox=coco_mask.toBbox(rle).tolist(),
        segmentation=dict(rle, counts=rle['counts'].decode()),
    )


def list_segments(scene: Scene) -> List[dict]:
    """Return ``segments_info``: everything visible in a scene."""
    segments = []
    for number, kind in scene.kinds.items():
        mask = scene.owners == number
        if mask.any():  # a background may be fully covered
            segment = describe(mask, kind)
            del segment['segmentation']  # it is in the PNG
            segment_id = number * SEGMENT_ID_FACTOR % NUM_SEGMENT_IDS
            segments.append(dict(segment, id=segment_id))
    return segments


def annotate(scene: Scene, image_id: int) -> Dict[str, List[dict]]:
    """Return a scene's annotations of instances and keypoints."""
    instances, puppets = [], []
    for number, kind in scene.kinds.items():
        if CATEGORY_IDS[kind] not in THINGS:
            continue
        instance = dict(
            describe(scene.owners == number, kind),
            id=100 * image_id + number,
            image_id=image_id,
        )
        instances.append(instance)
        if kind == PUPPET:
            points = scene.get_keypoints(number).round(2)
            num_keypoints = int((points[:, 2] > 0).sum())
            keypoints = points.ravel().tolist()
            puppets.append(
                dict(
                    instance, keypoints=keypoints, num_keypoints=num_keypoints
                )
            )
    return dict(instances=instances, person_keypoints=puppets)
