"""Runners with a model to export subnets of."""

from pathlib import Path

import pytest
import torch

from mmst.export import write_standalone
from tests.conftest import NUM_CLASSES

NUM_IMAGES = 12
STOCK = Path(__file__).with_name('stock_process.py')


def stock(backbone, in_channels, pool=True, head='LinearClsHead'):
    return dict(
        type='ImageClassifier',
        data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3),
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling') if pool else None,
        head=dict(
            type='mmst.STClsHead',
            head=dict(
                type=head, num_classes=NUM_CLASSES, in_channels=in_channels
            ),
        ),
    )


def export(runner, out, depths, num_samples=4, cfg=None, name='n', **options):
    """Write a subnet to a folder; return what it needs beside."""
    return write_standalone(
        runner, cfg or runner.cfg, depths, out, name, num_samples, **options
    )


#: A network of mmpretrain with (2, 2, 2, 2) blocks.
RESNET = stock(
    dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8),
    64,
)


@pytest.fixture
def make_runner(tiny_runner):

    def make(model, **options):
        sampler = dict(num_subnets=1)
        runner = tiny_runner(model=model, sampler=sampler, **options)
        for parameter in runner.model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        return runner

    return make
