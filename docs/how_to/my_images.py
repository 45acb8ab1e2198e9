# ST++ on a folder with your images: train/<class>/* and val/<class>/*.
_base_ = './configs/_base_/default_runtime.py'

# Set these for your images. As they are, they fit the demo's.
data_root = 'data/mnistm5k'
num_classes = 10
side = 64  # of the training images, in pixels; photographs: 224
num_epochs = 2  # enough to see that all works; to train: 100, say

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=num_classes,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(type='ResNet', depth=18, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmst.STClsHead',
        head=dict(
            type='LinearClsHead',
            num_classes=num_classes,
            in_channels=512,  # 2048 with depth=50 and more
            topk=(1,),
        ),
        # Plain KL. For hundreds of classes: normalize='standardize' here, and
        # normalize_main=True beside loss_kl.
        loss_kl=dict(type='mmst.KLMinusLoss', normalize=None),
    ),
)
custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        min_depth=1,  # 2 blocks a stage; with depth=50: 3
        size_range=(0.5, 1.0),
    )
]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # For photographs: crops from 0.08 on, and flips.
    dict(type='RandomResizedCrop', scale=side, crop_ratio_range=(0.5, 1.0)),
    # dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=side * 8 // 7, edge='short'),
    dict(type='CenterCrop', crop_size=side),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=False,
    worker_init_fn=dict(type='mmst.keep_worker_seed'),
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='val',
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(
        type='SGD', lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        end=1,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        begin=1,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='mmst.STEpochBasedTrainLoop', max_epochs=num_epochs)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(interval=10))
