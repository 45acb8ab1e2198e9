# ST++ with raw sampling: either the branch or the shortcut of each block.
_base_ = './resnet20_stpp_mnistm5k.py'

custom_hooks = [dict(_base_.custom_hooks[0], strategy='raw')]
