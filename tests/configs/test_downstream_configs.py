"""Every config of detection, segmentation and pose parses, builds and fits."""

import re

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import HOOKS
from mmengine.runner.checkpoint import get_torchvision_models

from mmst.subnets import find_stages
from tests.conftest import ROOT

from .parsed import build, difference, enter_scope
from .parsed import parse as parse_any

SCOPES = dict(st_det='mmdet', st_seg='mmseg', st_pose='mmpose')
CONFIGS = sorted(
    str(path.relative_to(ROOT / 'configs'))
    for family in SCOPES
    for path in (ROOT / 'configs' / family).glob('*.py')
)
SEG = 'st_seg/fpn_r50-st_4xb2-adamw-80k_cityscapes-512x1024.py'
POSE = 'st_pose/td-hm_res50-st_8xb64-210e_coco-256x192.py'
DETECTORS = {
    f'st_det/{name}_r50-st_{neck}_1x_coco.py': f'mmdet::{stock}_1x_coco.py'
    for name, neck, stock in [
        ('faster-rcnn', 'fpn', 'faster_rcnn/faster-rcnn_r50_fpn'),
        ('cascade-rcnn', 'fpn', 'cascade_rcnn/cascade-rcnn_r50_fpn'),
        ('fcos', 'fpn_gn-head', 'fcos/fcos_r50-caffe_fpn_gn-head'),
        ('atss', 'fpn', 'atss/atss_r50_fpn'),
        ('mask-rcnn', 'fpn', 'mask_rcnn/mask-rcnn_r50_fpn'),
        ('panoptic-fpn', 'fpn', 'panoptic_fpn/panoptic-fpn_r50_fpn'),
    ]
}
FRAMEWORKS = {
    **DETECTORS,
    SEG: 'mmseg::sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
    POSE: 'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_res50_8xb64-210e_coco-256x192.py',
}
ST = dict(
    type='Pretrained',
    checkpoint='checkpoints/resnet50_st-ua_in1k.pth',
    prefix='backbone.',
)


def adamw_of(config: str) -> str:
    return config.replace('_1x', '_adamw-1x')


def star_of(config: str) -> str:
    return config.replace('50-st_', '50-st-star_')


def parse(config: str) -> Config:
    """A config of ours, where its toolbox is installed."""
    pytest.importorskip(SCOPES[config.split('/')[0]])
    return parse_any(config)


def stock(name: str) -> Config:
    """A toolbox's own config."""
    pytest.importorskip(name.split('::')[0])
    return get_config(name)


def test_every_config_has_its_variants():
    expected = {*DETECTORS, *map(adamw_of, DETECTORS), SEG, POSE}
    assert {*expected, *map(star_of, expected)} == set(CONFIGS)


BACKBONE, OPTIMIZER = 'model.backbone.', 'optim_wrapper.optimizer.'
PREPROCESSOR = 'model.data_preprocessor.'
#: How frameworks differ from the stock config but for the weights.
CHANGES = {
    'st_det/fcos_r50-st_fpn_gn-head_1x_coco.py': {
        BACKBONE + 'style': ('caffe', 'pytorch'),
        BACKBONE + 'norm_cfg.requires_grad': (False, True),
        PREPROCESSOR + 'bgr_to_rgb': (False, True),
        PREPROCESSOR + 'mean.0': (102.9801, 123.675),
        PREPROCESSOR + 'mean.1': (115.9465, 116.28),
        PREPROCESSOR + 'mean.2': (122.7717, 103.53),
        PREPROCESSOR + 'std.0': (1.0, 58.395),
        PREPROCESSOR + 'std.1': (1.0, 57.12),
        PREPROCESSOR + 'std.2': (1.0, 57.375),
    },
    SEG: {
        BACKBONE + 'type': ('ResNetV1c', 'ResNet'),
        BACKBONE + 'init_cfg.type': (None, 'Pretrained'),
        'model.pretrained': ('open-mmlab://resnet50_v1c', None),
        OPTIMIZER + 'type': ('SGD', 'AdamW'),
        OPTIMIZER + 'lr': (0.01, 5e-4),
        OPTIMIZER + 'momentum': (0.9, None),
        OPTIMIZER + 'weight_decay': (0.0005, 0.05),
    },
}


@pytest.mark.parametrize('config', FRAMEWORKS)
def test_st_is_the_stock_config_with_another_backbone(config):
    before = stock(FRAMEWORKS[config])
    weights = before.model.backbone.get('init_cfg') or {}
    assert difference(before, parse(config)) == {
        **CHANGES.get(config, {}),
        BACKBONE + 'init_cfg.checkpoint': (
            weights.get('checkpoint'),
            ST['checkpoint'],
        ),
        BACKBONE + 'init_cfg.prefix': (None, 'backbone.'),
    }


@pytest.mark.parametrize('config', DETECTORS)
@pytest.mark.parametrize('variant', [str, star_of])
def test_adamw_is_sgd_but_for_the_optimizer(config, variant):
    """Tables 6, 8 and 10, and Tables 7, 9 and 11."""
    lr = 0.01 if 'fcos' in config or 'atss' in config else 0.02
    sgd, adamw = (parse(variant(c)) for c in (config, adamw_of(config)))
    assert difference(sgd, adamw) == {
        OPTIMIZER + 'type': ('SGD', 'AdamW'),
        OPTIMIZER + 'lr': (lr, 1e-4),
        OPTIMIZER + 'momentum': (0.9, None),
        OPTIMIZER + 'weight_decay': (1e-4, 0.1),
    }


@pytest.mark.parametrize(
    'config', [*DETECTORS, *map(adamw_of, DETECTORS), SEG, POSE]
)
def test_star_is_st_but_for_the_subnets(config):
    plain, star = parse(config), parse(star_of(config))
    hooks = plain.get('custom_hooks') or []
    at = f'custom_hooks.{len(hooks)}.'
    expected = {
        'custom_imports.imports.0': (None, 'mmst'),
        'custom_imports.allow_failed_imports': (None, False),
        at + 'type': (None, 'mmst.SubnetSamplerHook'),
        at + 'num_subnets': (None, 1),
        at + 'size_range.0': (None, 0.75 if config == POSE else 0.43),
        at + 'size_range.1': (None, 1.0),
        **{f'{at}space.{i}': (None, n) for i, n in enumerate([1, 2, 4, 1])},
    }
    by_iter = config == SEG
    expected['train_cfg.type'] = (
        plain.train_cfg.get('type'),
        f'mmst.ST{"Iter" if by_iter else "Epoch"}BasedTrainLoop',
    )
    if config == POSE:
        expected['train_cfg.by_epoch'] = (True, None)
        packed = 'train_dataloader.dataset.pipeline.7.pack_transformed'
        expected[packed] = (None, True)
    assert difference(plain, star) == expected


@pytest.mark.parametrize('config', FRAMEWORKS)
def test_model_and_space_fit(config):
    star = parse(star_of(config))
    enter_scope(star)
    model = build(config)
    assert [len(stage) for stage in find_stages(model)] == [3, 4, 6, 3]
    sampler = HOOKS.build(star.custom_hooks[-1]).sampler.fit(model)
    # Stage 1, which mmdet freezes, is never cut.
    depths = list(map(sorted, sampler.space.depths))
    assert depths == [[3], [3, 4], [3, 4, 5, 6], [3]]
    frozen = config in DETECTORS
    backbone = model.backbone
    assert frozen is not any(
        p.requires_grad for p in backbone.layer1.parameters()
    )
    assert all(p.requires_grad for p in backbone.layer2.parameters())
    backbone.train()
    assert backbone.layer2[0].bn1.training is not frozen  # norm_eval
    # The values that ImageNet's backbones are trained with.
    preprocessor = star.model.data_preprocessor
    assert preprocessor.mean == pytest.approx([123.675, 116.28, 103.53])
    assert preprocessor.std == pytest.approx([58.395, 57.12, 57.375])
    assert preprocessor.bgr_to_rgb


def test_pretraining_is_the_stock_config_but_for_the_subnets():
    """tests/engine/test_selfsup.py trains such models."""
    (path,) = (ROOT / 'configs/st_selfsup').glob('*.py')
    before = stock('mmpretrain::mae/' + path.name.replace('_st', ''))
    config = f'st_selfsup/{path.name}'
    assert difference(before, parse_any(config)) == {
        'custom_imports.imports.0': (None, 'mmst'),
        'custom_imports.allow_failed_imports': (None, False),
        'train_cfg.type': (
            'EpochBasedTrainLoop',
            'mmst.STEpochBasedTrainLoop',
        ),
        'custom_hooks.0.type': (None, 'mmst.SubnetSamplerHook'),
        'custom_hooks.0.num_subnets': (None, 1),
        'custom_hooks.0.min_depth': (None, 6),
    }
    hook = HOOKS.build(parse_any(config).custom_hooks[0])
    (depths,) = hook.sampler.fit(build(config)).space.depths
    assert sorted(depths) == list(range(6, 13))


BACKBONES = dict(
    re.findall(
        r'^\| (R50-(?!ST)\S+) \| `(\S+)` \|',
        (ROOT / 'configs/_base_/backbones/README.md').read_text(),
        re.M,
    )
)


@pytest.mark.parametrize(
    'row, weights',
    [
        ('R50-base', 'resnet50-0676ba61.pth'),
        ('R50-tnr', 'resnet50-11ad3fa6.pth'),
        ('R50-timm', 'resnet50_a1_0-14fe96d1.pth'),
    ],
)
def test_backbones_of_the_page(row, weights):
    checkpoint = BACKBONES[row]
    if checkpoint.startswith('torchvision://'):
        checkpoint = get_torchvision_models()[checkpoint.split('//')[1]]
    assert checkpoint.endswith(weights)


@pytest.mark.parametrize(
    'config', [c for c in FRAMEWORKS if c != SEG and 'fcos' not in c]
)
def test_r50_base_is_the_stock_config(config):
    """With the options that the page of backbones gives."""
    own, ours = stock(FRAMEWORKS[config]), parse(config).copy()
    init_cfg = dict(checkpoint=BACKBONES['R50-base'], prefix=None)
    ours.merge_from_dict({'model.backbone.init_cfg': init_cfg})
    assert ours.model.backbone.init_cfg.pop('prefix') is None
    assert not difference(own, ours)
