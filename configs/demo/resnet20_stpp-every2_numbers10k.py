# ST++ with one size per iteration, in every second iteration.
_base_ = './resnet20_stpp-shared_numbers10k.py'

custom_hooks = [dict(_base_.custom_hooks[0], every=2)]
