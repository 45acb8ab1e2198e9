# ST++ with stochastic residual sampling: a stage keeps any subset of its
# blocks.
_base_ = './resnet20_stpp_mnistm5k.py'

custom_hooks = [dict(_base_.custom_hooks[0], strategy='stochastic')]
