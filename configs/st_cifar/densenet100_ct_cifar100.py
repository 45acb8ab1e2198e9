# DenseNet-BC-100 (growth rate 12) on CIFAR-100: common training.
_base_ = './resnet50_ct_cifar100.py'

model = dict(
    backbone=dict(_delete_=True, type='mmst.CIFARDenseNet', depth=100),
    head=dict(in_channels=342),
)
