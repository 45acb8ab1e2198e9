# Table 13, R50-ST: Adam with 5e-4, as in mmpose.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_res50_8xb64-210e_coco-256x192.py',
    '../_base_/backbones/r50_st.py',
]

model = dict(backbone=dict(init_cfg=_base_.backbone_init))
