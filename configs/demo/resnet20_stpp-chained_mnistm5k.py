# ST++ with subnets' inputs made as in the released code: each is resized from
# the previous subnet's and normalised again.
_base_ = './resnet20_stpp_mnistm5k.py'

train_cfg = dict(chain_inputs=True, input_transforms=['normalize'])
custom_hooks = [
    # The same sizes in pixels: fractions would multiply along the chain.
    dict(_base_.custom_hooks[0], size_range=(24, 32))
]
