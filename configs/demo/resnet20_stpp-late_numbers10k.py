# ST++ of one size an iteration in the second half of the training only.
_base_ = './resnet20_stpp-shared_numbers10k.py'

custom_hooks = [dict(_base_.custom_hooks[0], begin=10)]
