# ST++ with one size per iteration, so that subnets share prefixes.
_base_ = './resnet20_stpp_numbers10k.py'

custom_hooks = [dict(_base_.custom_hooks[0], num_sizes=1)]
