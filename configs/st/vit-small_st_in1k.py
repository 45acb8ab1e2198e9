# ViT-S/16 on ImageNet, 100 epochs (Fig. 8): stimulative training, plain KL,
# one ordered subnet; the twelve layers are one stage.
_base_ = ['./vit-small_ct_in1k.py', '../_base_/st.py']

model = dict(
    head=dict(_delete_=True, head=_base_.model.head, **_base_.st_head)
)
train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
