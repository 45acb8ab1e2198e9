# Common training (CT) with everything else as in resnet50_st_in1k.py.
_base_ = [
    '../_base_/datasets/imagenet_crop200.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=50, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=2048))
