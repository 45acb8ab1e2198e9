# Stimulative training (ST): one subnet an iteration, plain KL.
_base_ = './resnet20_ct_mnistm5k.py'

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
    max_epochs=20,
    val_interval=20)
custom_hooks = [dict(type='mmst.SubnetSamplerHook', num_subnets=1)]
