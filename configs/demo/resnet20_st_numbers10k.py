# Stimulative training (ST): one subnet per iteration, plain KL.
_base_ = ['./resnet20_ct_numbers10k.py', '../_base_/st.py']

model = dict(
    head=dict(_delete_=True, head=_base_.model.head, **_base_.st_head)
)
train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
