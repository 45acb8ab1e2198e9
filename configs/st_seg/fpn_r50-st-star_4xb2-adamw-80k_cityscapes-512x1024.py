# Semantic FPN with R50-ST*, which the paper does not have.
_base_ = [
    './fpn_r50-st_4xb2-adamw-80k_cityscapes-512x1024.py',
    '../_base_/st_star.py',
]

train_cfg = dict(type='mmst.STIterBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
