# MobileNetV3 on CIFAR-10: stimulative training.
_base_ = ['./mobilenetv3_ct_cifar10.py', '../_base_/st.py']

model = dict(
    head=dict(_delete_=True, head=_base_.model.head, **_base_.st_head)
)
train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
