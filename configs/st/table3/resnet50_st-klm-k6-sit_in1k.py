# Table 3, row 5: KL-, six subnets and smaller inputs.
_base_ = './resnet50_st-klm-k6_in1k.py'

custom_hooks = [
    dict(type='mmst.SubnetSamplerHook', num_subnets=6, size_range=(96, 224))
]
