# ST++ with plain KL.
_base_ = './resnet20_st_mnistm5k.py'

custom_hooks = [
    dict(type='mmst.SubnetSamplerHook', num_subnets=3, size_range=(0.75, 1.0))
]
