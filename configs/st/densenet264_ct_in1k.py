# DenseNet-264 on ImageNet (Fig. 4): common training.
_base_ = './densenet121_ct_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='DenseNet',
        # mmpretrain has no name for it.
        arch=dict(growth_rate=32, depths=[6, 12, 64, 48], init_channels=64),
    ),
    head=dict(in_channels=2688),
)
