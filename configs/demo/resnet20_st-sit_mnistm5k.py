# ST with smaller inputs for subnets (SITrans).
_base_ = './resnet20_st_mnistm5k.py'

custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=1,
        # Below three quarters of 32 pixels, little of a digit is left.
        size_range=(0.75, 1.0),
    )
]
