# ST++ with the inter-stage sampling rule: at least two blocks per stage.
_base_ = './resnet20_stpp_mnistm5k.py'

custom_hooks = [dict(_base_.custom_hooks[0], min_depth=2)]
