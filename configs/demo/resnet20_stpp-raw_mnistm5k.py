# ST++ with raw sampling: of each block the branch or the shortcut alone.
_base_ = './resnet20_st-standardize_mnistm5k.py'

custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        strategy='raw',
        size_range=(0.75, 1.0),
    )
]
