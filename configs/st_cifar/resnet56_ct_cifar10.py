# ResNet-56 on CIFAR-10 (Fig. 1): common training.
_base_ = [
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/sgd_cifar_500e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmst.CIFARResNet', depth=56, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)
