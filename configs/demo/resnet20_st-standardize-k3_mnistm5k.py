# ST with KL- and several subnets.
_base_ = './resnet20_st-standardize_mnistm5k.py'

custom_hooks = [dict(type='mmst.SubnetSamplerHook', num_subnets=3)]
