# MobileNetV3 on CIFAR-100 with raw residual sampling (Fig. 3).
_base_ = './mobilenetv3_st_cifar100.py'

custom_hooks = [
    dict(type='mmst.SubnetSamplerHook', num_subnets=1, strategy='raw')
]
