# Table 3, row 1: common training (CT), 200 epochs.
_base_ = [
    '../../_base_/models/resnet50.py',
    '../../_base_/datasets/imagenet_crop224.py',
    '../../_base_/schedules/sgd_200e.py',
    '../../_base_/default_runtime.py',
]
