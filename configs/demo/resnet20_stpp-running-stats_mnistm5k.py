# ST++ whose subnets update the running BatchNorm statistics, which are
# re-estimated before validation, as in the released code.
_base_ = './resnet20_stpp_mnistm5k.py'

train_cfg = dict(update_running_stats=True)
custom_hooks = _base_.custom_hooks + [
    dict(type='PreciseBNHook', num_samples=2000)
]
