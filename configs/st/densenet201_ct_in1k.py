# DenseNet-201 on ImageNet (Fig. 4): common training.
_base_ = './densenet121_ct_in1k.py'

model = dict(backbone=dict(arch='201'), head=dict(in_channels=1920))
