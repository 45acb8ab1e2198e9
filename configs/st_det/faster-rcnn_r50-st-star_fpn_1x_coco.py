# Table 7, R50-ST*: SGD, subnets in fine-tuning too.
_base_ = ['./faster-rcnn_r50-st_fpn_1x_coco.py', '../_base_/st_star.py']

train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [_base_.subnet_sampler]
