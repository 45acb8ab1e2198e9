# ViT-S/16 on ImageNet, 100 epochs (Fig. 8): stimulative training, plain KL,
# one ordered subnet; the twelve layers are one stage.
_base_ = './vit-small_ct_in1k.py'

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
    max_epochs=100,
    val_interval=1)
custom_hooks = [dict(type='mmst.SubnetSamplerHook', num_subnets=1)]
