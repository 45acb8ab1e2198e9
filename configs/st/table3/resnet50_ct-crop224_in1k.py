# Table 3, row 1: common training (CT), 200 epochs.
_base_ = [
    '../../_base_/datasets/imagenet_crop224.py',
    '../../_base_/schedules/sgd_200e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=50, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=2048))
