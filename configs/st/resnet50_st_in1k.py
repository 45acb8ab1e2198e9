# ST++ (A1): the recipe with 80.50 % top-1 in the paper (Table 3). Logits are
# normalised as in the released code: standardised, also in the main loss.
_base_ = './resnet50_ct_in1k.py'

model = dict(
    head=dict(
        _delete_=True,
        type='mmst.STClsHead',
        head=_base_.model.head,
        loss_kl=dict(type='mmst.KLMinusLoss', normalize='standardize'),
        normalize_main=True,
    )
)
train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=6,
        space=[1, 2, 4, 1],
        size_range=(86, 200),
    )
]
