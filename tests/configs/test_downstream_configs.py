"""Every config of detection, segmentation and pose parses, builds and fits."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner.checkpoint import get_torchvision_models
from torch.utils.data import DataLoader

from mmst.engine import STEpochBasedTrainLoop, STIterBasedTrainLoop
from mmst.subnets import find_stages

from .parsed import build, difference, enter_scope
from .parsed import parse as parse_any

ROOT = Path(__file__).parents[2]
SCOPES = dict(st_det='mmdet', st_seg='mmseg', st_pose='mmpose')
CONFIGS = sorted(
    str(path.relative_to(ROOT / 'configs'))
    for family in SCOPES
    for path in (ROOT / 'configs' / family).glob('*.py')
)
SEG = 'st_seg/fpn_r50-st_4xb2-adamw-80k_cityscapes-512x1024.py'
POSE = 'st_pose/td-hm_res50-st_8xb64-210e_coco-256x192.py'
DETECTORS = {
    f'st_det/{name}_r50-st_{neck}_1x_coco.py': f'{folder}/{stock}_1x_coco.py'
    for name, neck, folder, stock in [
        ('faster-rcnn', 'fpn', 'faster_rcnn', 'faster-rcnn_r50_fpn'),
        ('cascade-rcnn', 'fpn', 'cascade_rcnn', 'cascade-rcnn_r50_fpn'),
        ('fcos', 'fpn_gn-head', 'fcos', 'fcos_r50-caffe_fpn_gn-head'),
        ('atss', 'fpn', 'atss', 'atss_r50_fpn'),
        ('mask-rcnn', 'fpn', 'mask_rcnn', 'mask-rcnn_r50_fpn'),
        ('panoptic-fpn', 'fpn', 'panoptic_fpn', 'panoptic-fpn_r50_fpn'),
    ]
}
FRAMEWORKS = {
    **{ours: f'mmdet::{stock}' for ours, stock in DETECTORS.items()},
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


def stock(name: str, tmp_path) -> Config:
    """A toolbox's own config."""
    pytest.importorskip(name.split('::')[0])
    path = tmp_path / 'stock.py'
    path.write_text(f'_base_ = {name!r}')
    return Config.fromfile(path)


def test_every_config_has_its_variants():
    expected = {*DETECTORS, *map(adamw_of, DETECTORS), SEG, POSE}
    assert {*expected, *map(star_of, expected)} == set(CONFIGS)


@pytest.mark.parametrize('config', FRAMEWORKS)
def test_st_is_the_stock_config_with_another_backbone(config, tmp_path):
    changed = difference(stock(FRAMEWORKS[config], tmp_path), parse(config))
    backbone = 'model.backbone.'
    old = 'torchvision://resnet50'
    expected = {}
    if 'fcos' in config:
        old = 'open-mmlab://detectron/resnet50_caffe'
        expected = {
            backbone + 'style': ('caffe', 'pytorch'),
            backbone + 'norm_cfg.requires_grad': (False, True),
            'model.data_preprocessor.bgr_to_rgb': (False, True),
        }
        for key, before, after in (
            (
                'mean',
                [102.9801, 115.9465, 122.7717],
                [123.675, 116.28, 103.53],
            ),
            ('std', [1.0, 1.0, 1.0], [58.395, 57.12, 57.375]),
        ):
            expected.update(
                {
                    f'model.data_preprocessor.{key}.{i}': pair
                    for i, pair in enumerate(zip(before, after))
                }
            )
    if config == SEG:
        old = None
        expected = {
            backbone + 'type': ('ResNetV1c', 'ResNet'),
            backbone + 'init_cfg.type': (None, 'Pretrained'),
            'model.pretrained': ('open-mmlab://resnet50_v1c', None),
        }
        optimizer = 'optim_wrapper.optimizer.'
        expected.update(
            {
                optimizer + 'type': ('SGD', 'AdamW'),
                optimizer + 'lr': (0.01, 5e-4),
                optimizer + 'momentum': (0.9, None),
                optimizer + 'weight_decay': (0.0005, 0.05),
            }
        )
    expected.update(
        {
            backbone + 'init_cfg.checkpoint': (old, ST['checkpoint']),
            backbone + 'init_cfg.prefix': (None, 'backbone.'),
        }
    )
    assert changed == expected


@pytest.mark.parametrize('config', DETECTORS)
def test_adamw_is_sgd_but_for_the_optimizer(config):
    lr = 0.01 if 'fcos' in config or 'atss' in config else 0.02
    for pair in (
        (config, adamw_of(config)),
        (star_of(config), star_of(adamw_of(config))),
    ):
        assert difference(*map(parse, pair)) == {
            f'optim_wrapper.optimizer.{key}': values
            for key, values in dict(
                type=('SGD', 'AdamW'),
                lr=(lr, 1e-4),
                momentum=(0.9, None),
                weight_decay=(1e-4, 0.1),
            ).items()
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


@pytest.mark.parametrize('config', [c for c in CONFIGS if '-star' in c])
def test_loop_is_built_in_the_toolbox_scope(config):
    cfg = parse(config)
    enter_scope(cfg)
    loop = LOOPS.build(
        dict(cfg.train_cfg),
        default_args=dict(
            runner=SimpleNamespace(hooks=[]), dataloader=DataLoader([0])
        ),
    )
    if config == star_of(SEG):
        assert isinstance(loop, STIterBasedTrainLoop)
        assert (loop.max_iters, loop.val_interval) == (80000, 8000)
    else:
        assert isinstance(loop, STEpochBasedTrainLoop)
        assert (loop.max_epochs, loop.val_interval) == (
            (210, 10) if config == star_of(POSE) else (12, 1)
        )


@pytest.mark.parametrize('config', FRAMEWORKS)
def test_model_and_space_fit(config):
    star = parse(star_of(config))
    enter_scope(star)
    model = build(config)
    assert [len(stage) for stage in find_stages(model)] == [3, 4, 6, 3]
    sampler = HOOKS.build(star.custom_hooks[-1]).sampler.fit(model)
    # Stage 1, which mmdet freezes, is never cut.
    assert [sorted(depths) for depths in sampler.space.depths] == [
        [3],
        [3, 4],
        [3, 4, 5, 6],
        [3],
    ]
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


@pytest.mark.parametrize(
    'config, name, lr, decay',
    [
        *[(adamw_of(c), 'AdamW', 1e-4, 0.1) for c in DETECTORS],
        *[
            (c, 'SGD', 0.01 if 'fcos' in c or 'atss' in c else 0.02, 1e-4)
            for c in DETECTORS
        ],
        (SEG, 'AdamW', 5e-4, 0.05),
        (POSE, 'Adam', 5e-4, 0),
    ],
)
def test_optimizer_of_the_tables(config, name, lr, decay):
    """Tables 6 to 13."""
    cfg = parse(config)
    enter_scope(cfg)
    model = build(config.replace('_adamw-1x', '_1x'))
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert type(optimizer).__name__ == name
    weight = model.backbone.layer4[0].conv1.weight
    group = next(
        group
        for group in optimizer.param_groups
        if any(p is weight for p in group['params'])
    )
    assert (group['lr'], group['weight_decay']) == (lr, decay)


BACKBONES = dict(
    re.findall(
        r'^\| (R50-(?!ST)\S+) \| `(\S+)` \|',
        (ROOT / 'configs/_base_/backbones/README.md').read_text(),
        re.M,
    )
)


def with_backbone(config: str, checkpoint: str) -> Config:
    """A config with the options that the page of backbones gives."""
    cfg = Config.fromfile(ROOT / 'configs' / config)
    cfg.merge_from_dict(
        {
            'model.backbone.init_cfg.checkpoint': checkpoint,
            'model.backbone.init_cfg.prefix': None,
        }
    )
    return cfg


@pytest.mark.parametrize(
    'config, row, weights',
    [
        (
            'st_det/atss_r50-st_fpn_1x_coco.py',
            'R50-base',
            'resnet50-0676ba61.pth',
        ),
        (SEG, 'R50-tnr', 'resnet50-11ad3fa6.pth'),
        (star_of(POSE), 'R50-timm', 'resnet50_a1_0-14fe96d1.pth'),
    ],
)
def test_backbones_of_the_page(config, row, weights):
    pytest.importorskip(SCOPES[config.split('/')[0]])
    init_cfg = with_backbone(config, BACKBONES[row]).model.backbone.init_cfg
    assert init_cfg.type == 'Pretrained' and init_cfg.prefix is None
    checkpoint = init_cfg.checkpoint
    if checkpoint.startswith('torchvision://'):
        checkpoint = get_torchvision_models()[checkpoint.split('//')[1]]
    assert checkpoint.endswith(weights)


@pytest.mark.parametrize(
    'config', [c for c in FRAMEWORKS if c != SEG and 'fcos' not in c]
)
def test_r50_base_is_the_stock_config(config, tmp_path):
    own = stock(FRAMEWORKS[config], tmp_path)
    ours = with_backbone(config, BACKBONES['R50-base'])
    assert ours.model.backbone.init_cfg.pop('prefix') is None
    assert not difference(own, ours)
