# DenseNet-121 on ImageNet: common training. The paper gives no schedule
# for it; this is the one of its ResNet-50.
_base_ = './table3/resnet50_ct-crop224_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='DenseNet', arch='121'),
    head=dict(in_channels=1024),
)
