"""Odd data for models of mmdet, mmseg and mmpose, as each has it in memory."""

from typing import Callable, List

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate

MAIN = (128, 128)
CASES = dict(
    tiny=[(MAIN, 'tiny')] * 2,
    none=[(MAIN, 'none')] * 2,
    crowd=[(MAIN, 'crowd')] * 2,
    sizes=[(MAIN, 'plain'), ((96, 80), 'plain')],
)

#: Fields of a pair of hands in space, besides its joints.
_HAND = dict(
    rel_root_depth=np.zeros(1, np.float32),
    rel_root_valid=np.zeros(1, np.float32),
    hand_type=np.array([[1, 0]], np.float32),
    hand_type_valid=np.ones(1, np.float32),
    focal=np.ones((1, 2)),
    principal_pt=np.zeros((1, 2)),
)


class OddScenes(BaseDataset):
    """Noise with what a toolbox's data sets annotate, in memory."""

    def __init__(
        self, scene: Callable, case: str, pipeline: List[dict]
    ) -> None:
        self.scenes = [
            scene(np.random.default_rng(i), shape, content)
            for i, (shape, content) in enumerate(
                CASES.get(case, [(MAIN, 'plain')] * 2)
            )
        ]
        super().__init__(pipeline=pipeline)

    def load_data_list(self) -> List[dict]:
        """Return the scenes of a case."""
        return self.scenes


def _image(rng: np.random.Generator, shape: tuple, content: str) -> dict:
    """Make an image and its label map, of one class but for the object."""
    labels = np.zeros(shape, np.uint8)
    if content == 'crowd':
        labels[:] = 255
    elif content != 'none':
        side = 2 if content == 'tiny' else 40
        labels[20 : 20 + side, 20 : 20 + side] = 1
    return dict(
        img=rng.integers(0, 256, (*shape, 3), np.uint8),
        img_shape=shape,
        ori_shape=shape,
        img_id=0,
        id=0,
        scale_factor=(1.0, 1.0),
        flip=False,
        seg_fields=['gt_seg_map'],
        gt_seg_map=labels,
    )


def _instances(rng: np.random.Generator, shape: tuple, content: str) -> dict:
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    number, side = int(content != 'none'), 2 if content == 'tiny' else 40
    box = np.array([[20, 20, 20 + side, 20 + side]], np.float32)[:number]
    masks = np.zeros((number, *shape), np.uint8)
    masks[:, 20 : 20 + side, 20 : 20 + side] = 1
    return dict(
        _image(rng, shape, content),
        gt_bboxes=HorizontalBoxes(box),
        gt_bboxes_labels=np.zeros(number, np.int64),
        gt_masks=BitmapMasks(masks, *shape),
        gt_instances_ids=np.zeros(number, np.int64),
        gt_ignore_flags=np.full(number, content == 'crowd'),
        # The same as from a file of proposals.
        proposals=np.array([[10, 10, 60, 60], [20, 20, 50, 90]], np.float32),
        proposals_scores=np.ones(2, np.float32),
    )


def _person(joints: int, is_3d: bool) -> Callable:
    """People of a number of joints; none and crowd: no joint is labelled."""

    def person(rng: np.random.Generator, shape: tuple, content: str) -> dict:
        side = 2 if content == 'tiny' else 40
        visible = content not in ('none', 'crowd')
        points = rng.uniform(20, 20 + side, (1, joints, 2 + is_3d))
        return dict(
            _image(rng, shape, content),
            category_id=1,
            iscrowd=int(content == 'crowd'),
            keypoints=points.astype(np.float32),
            keypoints_visible=np.full((1, joints), visible, np.float32),
            bbox=np.array([[20, 20, 20 + side, 20 + side]], np.float32),
            bbox_score=np.ones(1, np.float32),
            flip_indices=list(range(joints)),
            **(_HAND if is_3d else {}),
        )

    return person


def scenes_of(toolbox: str, cfg: Config, case: str) -> OddScenes:
    """Make a case's data, prepared for subnets."""
    if toolbox == 'mmpose':
        head = cfg.model.head
        is_3d = head.type == 'InternetHead'
        joints = 42 if is_3d else head.get('num_joints') or head.out_channels
        size = cfg.codec.get('input_size') or cfg.codec.image_size
        pipeline = [
            dict(type='GetBBoxCenterScale'),
            dict(type='TopdownAffine', input_size=size),
            dict(type='GenerateTarget', encoder=cfg.codec),
            dict(type='PackPoseInputs', pack_transformed=True),
        ]
        data = OddScenes(_person(joints, is_3d), case, pipeline)
    elif toolbox == 'mmseg':
        data = OddScenes(_image, case, [dict(type='PackSegInputs')])
    else:
        data = OddScenes(_instances, case, [dict(type='PackDetInputs')])
    return data


def make_batch(toolbox: str, cfg: Config, case: str) -> dict:
    """Make a case's batch, as it comes from the data loader."""
    data = scenes_of(toolbox, cfg, case)
    batch = pseudo_collate([data[i] for i in range(len(data))])
    if cfg.model.data_preprocessor.type != 'TrackDataPreprocessor':
        return batch
    from mmdet.structures import TrackDataSample

    samples = batch['data_samples']
    video = TrackDataSample(
        video_data_samples=samples,
        metainfo=dict(key_frames_inds=[0], ref_frames_inds=[1]),
    )
    shape = [max(sides) for sides in zip(*(s.img_shape for s in samples))]
    images = torch.zeros(len(samples), 3, *shape, dtype=torch.uint8)
    for frame, image in zip(images, batch['inputs']):
        frame[:, : image.shape[1], : image.shape[2]] = image
    return dict(inputs=[images], data_samples=[video])
