# Table 6, R50-ST: AdamW.
_base_ = [
    './cascade-rcnn_r50-st_fpn_1x_coco.py',
    '../_base_/schedules/adamw_finetune.py',
]

optim_wrapper = dict(optimizer=dict(_delete_=True, **_base_.adamw))
