# Table 3, row 2: the original stimulative training, plain KL, one subnet.
_base_ = ['./resnet50_ct-crop224_in1k.py', '../../_base_/st.py']

model = dict(
    head=dict(_delete_=True, head=_base_.model.head, **_base_.st_head)
)
train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
