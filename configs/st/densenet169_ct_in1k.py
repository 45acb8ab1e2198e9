# DenseNet-169 on ImageNet (Fig. 4): common training.
_base_ = './densenet121_ct_in1k.py'

model = dict(backbone=dict(arch='169'), head=dict(in_channels=1664))
