# A narrow ResNet-18, trained with ST on images of twice the size: the backbone
# for demo/downstream.py.
_base_ = './resnet20_st_mnistm5k.py'

data_preprocessor = dict(  # that of the detectors, segmentors, pose models
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        base_channels=16,
        stem_channels=16,
        zero_init_residual=False,
    ),
    head=dict(head=dict(in_channels=128)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='Resize', scale=64),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=64),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
