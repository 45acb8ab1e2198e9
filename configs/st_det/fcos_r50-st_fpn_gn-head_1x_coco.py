# Table 7, R50-ST: SGD. mmdet's 1x FCOS has a caffe ResNet; this one is
# PyTorch's, with the changes that mmdet makes for its ResNeXt FCOS.
_base_ = [
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    '../_base_/backbones/r50_st.py',
]

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        norm_cfg=dict(requires_grad=True),
        style='pytorch',
        init_cfg=_base_.backbone_init,
    ),
)
