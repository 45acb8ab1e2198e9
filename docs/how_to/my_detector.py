# Mask R-CNN with ST*, from a ResNet-18 that my_images.py has trained.
_base_ = './configs/st_det/mask-rcnn_r50-st-star_fpn_adamw-1x_coco.py'

data_root = 'data/digit_scenes/coco/'  # annotations/, train2017/, val2017/
num_epochs = 2
scale = (256, 192)  # images are small here; COCO's own is (1333, 800)

model = dict(
    backbone=dict(
        depth=18,
        init_cfg=dict(checkpoint='work_dirs/my_images/epoch_2.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
    train_cfg=dict(rcnn=dict(sampler=dict(num=64))),  # for speed on a CPU
)
custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=1,
        space=[1, 2, 2, 1],  # stage 1 is frozen
        size_range=(0.43, 1.0),
    )
]

train_pipeline = _base_.train_pipeline
train_pipeline[2]['scale'] = scale
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = scale
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=num_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=20, by_epoch=False)
]
default_hooks = dict(logger=dict(interval=10))
