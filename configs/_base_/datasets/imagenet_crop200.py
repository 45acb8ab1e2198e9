# Training crop 200 (Tcs200); test resize 240 (Vrs240), centre crop 224.
_base_ = './imagenet_crop224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1]['scale'] = 200
test_pipeline = _base_.test_pipeline
test_pipeline[1]['scale'] = 240

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
