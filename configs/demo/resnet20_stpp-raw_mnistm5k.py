# ST++ with raw sampling: of each block the branch or the shortcut alone.
_base_ = './resnet20_stpp_mnistm5k.py'

custom_hooks = [dict(_base_.custom_hooks[0], strategy='raw')]
