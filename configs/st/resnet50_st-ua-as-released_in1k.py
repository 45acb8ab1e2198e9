# A2 as released: A1 as released with uniform augment, as the last transform,
# and 400 epochs.
_base_ = [
    './resnet50_st-as-released_in1k.py',
    '../_base_/datasets/uniform_augment.py',
]

train_pipeline = _base_.train_pipeline
train_pipeline.insert(-1, _base_.uniform_augment)

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=400)
