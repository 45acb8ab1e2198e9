# A1 with three habits of the authors' released code: subnets update the
# running BatchNorm statistics, which are re-estimated from 2,000 training
# images before validation; each subnet's input is resized from the previous
# one's; and what is normalised is normalised again.
_base_ = './resnet50_st_in1k.py'

train_cfg = dict(
    update_running_stats=True,
    chain_inputs=True,
    input_transforms=['normalize'],
)
custom_hooks = _base_.custom_hooks + [
    dict(type='PreciseBNHook', num_samples=2000)
]
