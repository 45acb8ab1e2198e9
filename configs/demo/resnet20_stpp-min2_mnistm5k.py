# ST++ with the inter-stage sampling rule: two blocks a stage at least.
_base_ = './resnet20_st-standardize_mnistm5k.py'

custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        min_depth=2,
        size_range=(0.75, 1.0),
    )
]
