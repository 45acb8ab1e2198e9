# Stimulative training (ST) of the small ViT: one subnet per iteration, plain
# KL. At full size a subnet is an exit of the main pass and costs only its
# head.
_base_ = ['./vit_ct_mnistm5k.py', '../_base_/st.py']

model = dict(
    head=dict(_delete_=True, head=_base_.model.head, **_base_.st_head)
)
train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
