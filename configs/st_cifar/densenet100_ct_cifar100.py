# DenseNet-BC-100 (growth rate 12) on CIFAR-100: common training.
_base_ = [
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/sgd_cifar_500e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmst.CIFARDenseNet', depth=100),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=342),
)
