# Table 7, R50-ST: SGD.
_base_ = [
    'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    '../_base_/backbones/r50_st.py',
]

model = dict(backbone=dict(init_cfg=_base_.backbone_init))
