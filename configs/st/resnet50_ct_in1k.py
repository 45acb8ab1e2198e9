# Common training (CT) with everything else as in resnet50_st_in1k.py.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_crop200.py',
    '../_base_/schedules/sgd_200e.py',
    '../_base_/default_runtime.py',
]
