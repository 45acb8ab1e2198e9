# Table 12, R50-ST. mmseg's Semantic FPN has a ResNetV1c, whose stem no
# compared backbone has.
_base_ = [
    'mmseg::sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
    '../_base_/backbones/r50_st.py',
]

model = dict(
    pretrained=None,
    backbone=dict(type='ResNet', init_cfg=_base_.backbone_init),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=0.05)
)
