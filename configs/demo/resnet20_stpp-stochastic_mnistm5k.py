# ST++ with stochastic residual sampling: a stage keeps any of its blocks.
_base_ = './resnet20_st-standardize_mnistm5k.py'

custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        strategy='stochastic',
        size_range=(0.75, 1.0),
    )
]
