"""People and top-down pipelines of mmpose, for the tests of its samples."""

from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmengine.dataset import BaseDataset, pseudo_collate
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from mmpose.registry import MODELS, TRANSFORMS
from torch import nn

from tests.targets.batches import make_model

JOINTS = 5
CODECS = dict(
    msra=dict(type='MSRAHeatmap', sigma=2.0),
    dark=dict(type='MSRAHeatmap', sigma=2.0, unbiased=True),
    udp=dict(type='UDPHeatmap', sigma=1.5),
    combined=dict(type='UDPHeatmap', heatmap_type='combined'),
    megvii=dict(type='MegviiHeatmap', kernel_size=11),
    regression=dict(type='RegressionLabel'),
    integral=dict(type='IntegralRegressionLabel', sigma=2.0),
    simcc=dict(type='SimCCLabel', sigma=(4.0, 5.0)),
    simcc_standard=dict(
        type='SimCCLabel', smoothing_type='standard', label_smooth_weight=0.1
    ),
)
HEATMAPS = ['msra', 'dark', 'udp', 'combined', 'megvii']


def codec_cfg(name: str, size: tuple = (128, 256)) -> dict:
    """A codec's config for inputs of (w, h) pixels."""
    cfg = dict(CODECS[name], input_size=size)
    if name in HEATMAPS + ['integral']:
        cfg['heatmap_size'] = (size[0] // 4, size[1] // 4)
    return cfg


def head_cfg(name: str) -> dict:
    """A head for 64 channels that learns what the codec encodes."""
    if name == 'regression':
        cfg = dict(type='RegressionHead', num_joints=JOINTS)
    else:
        cfg = dict(
            type='HeatmapHead',
            out_channels=JOINTS,
            deconv_out_channels=(8, 8, 8),
            deconv_kernel_sizes=(4, 4, 4),
        )
    return dict(cfg, in_channels=64, decoder=codec_cfg(name))


def model_for(head: dict, divisor: int = 1) -> nn.Module:
    """The parts of a model that make a subnet's batch."""
    preprocessor = PoseDataPreprocessor(pad_size_divisor=divisor)
    return make_model(preprocessor, head=MODELS.build(head))


def person(seed: int = 0) -> dict:
    """An image and a person in it, as mmpose's data sets give them.

    One joint is not visible, one outside of the box.
    """
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform((60, 60), (160, 260), (1, JOINTS, 2))
    keypoints[0, 4] = 290, 20
    visible = np.ones((1, JOINTS), np.float32)
    visible[0, 1] = 0
    return dict(
        img=rng.integers(0, 256, (300, 300, 3), np.uint8),
        img_shape=(300, 300),
        id=seed,
        img_id=seed,
        category_id=1,
        bbox=np.array([[50.0, 50.0, 170.0, 270.0]], np.float32),
        bbox_score=np.ones(1, np.float32),
        keypoints=keypoints.astype(np.float32),
        keypoints_visible=visible,
        dataset_keypoint_weights=np.array([1, 1, 1.5, 2, 1], np.float32),
        flip_indices=[1, 0, 2, 4, 3],
    )


def pipeline(encoder: Any, pack: bool = True, **target: Any) -> Compose:
    """A top-down pipeline as the toolbox's configs have it."""
    if isinstance(encoder, str):
        encoder = codec_cfg(encoder)
    configs = [
        dict(type='GetBBoxCenterScale'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='RandomBBoxTransform', rotate_prob=1.0),
        dict(type='TopdownAffine', input_size=(128, 256)),
        dict(target, type='GenerateTarget', encoder=encoder),
        dict(type='PackPoseInputs', pack_transformed=pack),
    ]
    return Compose([TRANSFORMS.build(cfg) for cfg in configs])


class People(BaseDataset):
    """Two people and a pipeline."""

    def __init__(self, run_pipeline: Compose) -> None:
        super().__init__(pipeline=run_pipeline.transforms)

    def load_data_list(self) -> list:
        return [person(0), person(1)]


def packed(model: nn.Module, run_pipeline: Compose) -> dict:
    """Both people, as the model gets them in training."""
    results = []
    for seed in (0, 1):
        np.random.seed(seed)
        results.append(run_pipeline(person(seed)))
    return model.data_preprocessor(pseudo_collate(results), True)
