# Table 8, R50-ST*: AdamW, subnets in fine-tuning too.
_base_ = ['./panoptic-fpn_r50-st_fpn_adamw-1x_coco.py', '../_base_/st_star.py']

train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
