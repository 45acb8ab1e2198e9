# DenseNet-121 on ImageNet: stimulative training, plain KL, one ordered subnet.
_base_ = './table3/resnet50_st-kl-k1_in1k.py'

model = dict(
    backbone=dict(_delete_=True, type='DenseNet', arch='121'),
    head=dict(head=dict(in_channels=1024)),
)
