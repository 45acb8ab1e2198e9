"""Dense tasks: the toolboxes' own models, made tiny, and data for them."""

import copy
import importlib
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

SHAPES = [(96, 128), (80, 100), (96, 110), (90, 128)]
THINGS, STUFF, JOINTS = 3, 2, 5
CHANNELS = [8, 16, 32, 64]
CODEC = dict(
    type='MSRAHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=2
)
BACKBONE = dict(depth=18, base_channels=8, init_cfg=None)
FPN = {'neck.in_channels': CHANNELS, 'neck.out_channels': 8}
TWO_STAGE = {
    **FPN,
    'rpn_head.in_channels': 8,
    'rpn_head.feat_channels': 8,
    'rpn_head.anchor_generator.scales': [2],
    'roi_head.bbox_roi_extractor.out_channels': 8,
    'roi_head.bbox_head.in_channels': 8,
    'roi_head.bbox_head.fc_out_channels': 16,
    'roi_head.bbox_head.num_classes': THINGS,
    'roi_head.mask_roi_extractor.out_channels': 8,
    'roi_head.mask_head.in_channels': 8,
    'roi_head.mask_head.conv_out_channels': 8,
    'roi_head.mask_head.num_convs': 1,
    'roi_head.mask_head.num_classes': THINGS,
    'train_cfg.rpn_proposal.nms_pre': 50,
    'train_cfg.rpn_proposal.max_per_img': 20,
    'train_cfg.rcnn.sampler.num': 16,
}
# task -> toolbox, its config of the model, and what makes that tiny
TASKS: Dict[str, tuple] = dict(
    two_stage=('mmdet', '_base_/models/mask-rcnn_r50_fpn.py', TWO_STAGE),
    one_stage=(
        'mmdet',
        'atss/atss_r50_fpn_1x_coco.py',
        {
            **FPN,
            'bbox_head.in_channels': 8,
            'bbox_head.feat_channels': 8,
            'bbox_head.stacked_convs': 1,
            'bbox_head.num_classes': THINGS,
            'bbox_head.norm_cfg': dict(type='GN', num_groups=2),
        },
    ),
    # Its head writes into the samples.
    one_stage_masks=(
        'mmdet',
        'solov2/solov2_r50_fpn_1x_coco.py',
        {
            **FPN,
            'mask_head.in_channels': 8,
            'mask_head.feat_channels': 16,
            'mask_head.stacked_convs': 1,
            'mask_head.num_classes': THINGS,
            'mask_head.norm_cfg': dict(type='GN', num_groups=2),
            'mask_head.mask_feature_head.feat_channels': 8,
            'mask_head.mask_feature_head.out_channels': 8,
            'mask_head.mask_feature_head.norm_cfg.num_groups': 2,
        },
    ),
    panoptic=(
        'mmdet',
        'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        {
            **TWO_STAGE,
            'semantic_head.in_channels': 8,
            'semantic_head.inner_channels': 8,
            'semantic_head.norm_cfg.num_groups': 2,
            'semantic_head.num_things_classes': THINGS,
            'semantic_head.num_stuff_classes': STUFF,
            'panoptic_fusion_head.num_things_classes': THINGS,
            'panoptic_fusion_head.num_stuff_classes': STUFF,
        },
    ),
    segmentation=(
        'mmseg',
        '_base_/models/fpn_r50.py',
        {
            **FPN,
            'pretrained': None,
            'backbone.norm_cfg.type': 'BN',
            'backbone.stem_channels': 8,
            'backbone.frozen_stages': 1,
            'backbone.norm_eval': True,
            'data_preprocessor.size': (96, 128),
            'decode_head.in_channels': [8] * 4,
            'decode_head.channels': 8,
            'decode_head.norm_cfg.type': 'BN',
            'decode_head.num_classes': THINGS + STUFF,
        },
    ),
    pose=(
        'mmpose',
        'body_2d_keypoint/topdown_heatmap/coco/'
        'td-hm_res50_8xb64-210e_coco-256x192.py',
        {
            'backbone.frozen_stages': 1,
            'backbone.norm_eval': True,
            'head.in_channels': CHANNELS[-1],
            'head.out_channels': JOINTS,
            'head.deconv_out_channels': (8, 8, 8),
            'head.decoder': CODEC,
        },
    ),
)
PIPELINES = dict(
    mmdet=[dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')],
    mmseg=[dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')],
    mmpose=[
        dict(type='GetBBoxCenterScale'),
        dict(type='RandomFlip'),
        dict(type='RandomBBoxTransform'),
        dict(type='TopdownAffine', input_size=CODEC['input_size']),
        dict(type='GenerateTarget', encoder=CODEC),
        dict(type='PackPoseInputs', pack_transformed=True),
    ],
)


def model_cfg(task: str, **backbone: Any) -> ConfigDict:
    """The toolbox's model, tiny; ``backbone`` changes its backbone."""
    toolbox, path, tiny = TASKS[task]
    folder = Path(importlib.import_module(toolbox).__file__).parent
    cfg = Config.fromfile(folder / '.mim/configs' / path)
    cfg.merge_from_dict(dict(model=dict(backbone=BACKBONE)))
    cfg.merge_from_dict(
        {f'model.{key}': copy.deepcopy(value) for key, value in tiny.items()}
    )
    cfg.merge_from_dict(dict(model=dict(backbone=backbone)))
    return cfg.model


def runner_options(task: str) -> dict:
    """Options of ``tiny_runner`` for one epoch of the task."""
    return dict(
        model=model_cfg(task),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            dataset=dict(type='mmengine.TinyScenes', task=task),
            sampler=dict(type='mmengine.DefaultSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
        ),
        default_scope=TASKS[task][0],
        visualizer=None,
        param_scheduler=None,
        max_epochs=1,
    )


@DATASETS.register_module()
class TinyScenes(BaseDataset):
    """Noise with boxes, masks, label maps and a person, kept in memory."""

    def __init__(self, task: str, pipeline: List[dict] = ()) -> None:
        self.toolbox = TASKS[task][0]
        super().__init__(pipeline=pipeline or PIPELINES[self.toolbox])

    def load_data_list(self) -> List[dict]:
        """One scene for each of ``SHAPES``."""
        scenes = dict(mmdet=_instances, mmseg=_image, mmpose=_person)
        return [
            scenes[self.toolbox](np.random.default_rng(i), shape)
            for i, shape in enumerate(SHAPES)
        ]


def _image(rng: np.random.Generator, shape: tuple) -> dict:
    return dict(
        img=rng.integers(0, 256, (*shape, 3), np.uint8),
        img_shape=shape,
        seg_fields=['gt_seg_map'],
        gt_seg_map=rng.integers(0, THINGS + STUFF, shape).astype(np.uint8),
    )


def _instances(rng: np.random.Generator, shape: tuple) -> dict:
    """Three boxes, one of them ignored, one that a subnet cannot see."""
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    height, width = shape
    corner = rng.uniform(0, 40, (3, 2))
    boxes = np.hstack([corner, corner + rng.uniform(16, 38, (3, 2))])
    boxes[2, 2:] = boxes[2, :2] + 1.2
    masks = np.zeros((3, height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int)):
        mask[y1:y2, x1:x2] = 1
    return dict(
        _image(rng, shape),
        gt_bboxes=HorizontalBoxes(boxes.astype(np.float32)),
        gt_bboxes_labels=rng.integers(0, THINGS, 3),
        gt_masks=BitmapMasks(masks, height, width),
        gt_ignore_flags=np.array([False, True, False]),
    )


def _person(rng: np.random.Generator, shape: tuple) -> dict:
    keypoints = rng.uniform(10, 70, (1, JOINTS, 2)).astype(np.float32)
    return dict(
        _image(rng, shape),
        keypoints=keypoints,
        keypoints_visible=np.ones((1, JOINTS), np.float32),
        bbox=np.array([[5.0, 5.0, 75.0, 75.0]], np.float32),
        flip_indices=list(range(JOINTS)),
    )
