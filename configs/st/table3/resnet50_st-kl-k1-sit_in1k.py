# Table 3, row 4: smaller inputs (SITrans) for the one subnet.
_base_ = './resnet50_st-kl-k1_in1k.py'

custom_hooks = [
    dict(type='mmst.SubnetSamplerHook', num_subnets=1, size_range=(96, 224))
]
