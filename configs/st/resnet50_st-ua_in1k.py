# ST++ (A2): A1 with uniform augment and 400 epochs; 80.97 % in the paper.
_base_ = ['./resnet50_st_in1k.py', '../_base_/datasets/uniform_augment.py']

train_pipeline = _base_.train_pipeline
train_pipeline.insert(3, _base_.uniform_augment)  # before jitter and lighting

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=400)
