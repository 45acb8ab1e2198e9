# ResNet-50 on CIFAR-100: common training.
_base_ = [
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/sgd_cifar_500e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=50, zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=2048),
)
