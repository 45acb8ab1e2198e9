"""Runners with a model to export subnets of."""

import pytest
import torch

from tests.conftest import NUM_CLASSES

NUM_IMAGES = 12


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


#: A network of mmpretrain with (2, 2, 2, 2) blocks.
RESNET = stock(
    dict(type='ResNet_CIFAR', depth=18, base_channels=8, stem_channels=8),
    64,
)


@pytest.fixture
def make_runner(tiny_runner):

    def make(model, **options):
        options.setdefault(
            'train_dataloader',
            dict(
                batch_size=4,
                num_workers=0,
                worker_init_fn=dict(type='mmst.keep_worker_seed'),
                dataset=dict(type='TinyImages', length=NUM_IMAGES, flip=False),
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
            ),
        )
        runner = tiny_runner(
            model=model, sampler=dict(num_subnets=1), **options
        )
        for parameter in runner.model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        return runner

    return make
