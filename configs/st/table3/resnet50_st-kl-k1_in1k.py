# Table 3, row 2: the original stimulative training, plain KL, one subnet.
_base_ = './resnet50_ct-crop224_in1k.py'

plain_head = {{_base_.model.head}}
model = dict(
    head=dict(
        _delete_=True,
        type='mmst.STClsHead',
        head=plain_head,
        loss_kl=dict(type='mmst.KLMinusLoss', normalize=None)))

train_cfg = dict(
    _delete_=True,
    type='mmst.STEpochBasedTrainLoop',
    max_epochs=200,
    val_interval=1)
custom_hooks = [dict(type='mmst.SubnetSamplerHook', num_subnets=1)]
