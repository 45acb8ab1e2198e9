# DenseNet-BC-100 on CIFAR-100: stimulative training, plain KL, one ordered subnet.
_base_ = './densenet100_ct_cifar100.py'

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
    max_epochs=500,
    val_interval=5)
custom_hooks = [dict(type='mmst.SubnetSamplerHook', num_subnets=1)]
