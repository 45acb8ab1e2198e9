"""Images of a changed config have the size that was asked for."""

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmst.evaluation import shrink_pipelines

PACK = dict(type='PackInputs', meta_keys=('img_shape', 'scale_factor'))
EDGE = dict(type='ResizeEdge', scale=256, edge='short')
IMAGENET = [EDGE, dict(type='CenterCrop', crop_size=224), PACK]
TRAIN = [dict(type='RandomResizedCrop', scale=200), PACK]
DETECTOR = [
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_shape', 'scale_factor')),
]


def make_config(val, train=None):
    pipelines = dict(val=val, test=val, train=train or val)
    return Config(
        {
            f'{loader}_dataloader': dict(dataset=dict(pipeline=pipeline))
            for loader, pipeline in pipelines.items()
        }
    )


def run(pipeline, shape, scope='mmpretrain'):
    """The image that a pipeline gives, (3, H, W), and its sample."""
    pytest.importorskip(scope)
    __import__(f'{scope}.datasets')
    sample = dict(
        img=np.zeros((*shape, 3), np.uint8), img_shape=shape, ori_shape=shape
    )
    with DefaultScope.overwrite_default_scope(scope):
        packed = Compose([dict(step) for step in pipeline])(sample)
    return packed['inputs'], packed['data_samples']


@pytest.mark.parametrize(
    'val, train, sizes',
    [
        (IMAGENET, TRAIN, ((112, 112), (100, 100))),
        ([PACK], [PACK], ((112, 224), (112, 224))),
        (
            [dict(type='Resize', scale=(448, 224)), PACK],
            [dict(type='RandomCrop', crop_size=64), PACK],
            ((112, 224), (64, 64)),
        ),
    ],
)
def test_classifier(val, train, sizes):
    cfg = make_config(val, train)
    before = cfg.to_dict()
    changes = shrink_pipelines(cfg, 112)
    assert cfg.to_dict() == before
    cfg.merge_from_dict(changes)
    for loader, size in zip(('val', 'test', 'train'), (sizes[0], *sizes)):
        pipeline = cfg[f'{loader}_dataloader'].dataset.pipeline
        image, _ = run(pipeline, (300, 600))
        assert tuple(image.shape[1:]) == size, loader


def test_detector_keeps_the_way_back_to_its_image():
    """Boxes are scaled back by the sample's own factor."""
    changes = shrink_pipelines(make_config(DETECTOR), 400)
    image, sample = run(
        changes['val_dataloader.dataset.pipeline'], (480, 640), 'mmdet'
    )
    assert tuple(image.shape[1:]) == sample.img_shape == (400, 533)
    assert sample.scale_factor == pytest.approx((533 / 640, 400 / 480))


def test_pipelines_inside_of_wrappers():
    cfg = make_config(IMAGENET)
    parts = [dict(pipeline=TRAIN), dict(pipeline=[PACK])]
    cfg.train_dataloader = dict(
        dataset=dict(type='ConcatDataset', datasets=parts)
    )
    cfg.merge_from_dict(shrink_pipelines(cfg, 112))
    first, second = cfg.train_dataloader.dataset.datasets
    assert first.pipeline[0].scale == 100 and len(second.pipeline) == 1


FACTOR = dict(type='Resize', scale_factor=0.5, scale=None)
POSE = dict(type='TopdownAffine', input_size=(192, 256))


@pytest.mark.parametrize(
    'pipeline, size, message',
    [
        (IMAGENET, 0, 'size 0 of images: must be at least 1 px'),
        ([FACTOR, PACK], 8, 'cannot be read from the `scale`'),
        ([], 8, 'val_dataloader.dataset of the config has no pipeline'),
        ([POSE, PACK], 128, r'decodes at `input_size` .*192, 256'),
    ],
)
def test_what_cannot_be_made_smaller(pipeline, size, message):
    with pytest.raises(ValueError, match=message):
        shrink_pipelines(make_config(pipeline), size)
