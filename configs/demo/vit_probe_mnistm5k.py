# A linear layer on the class token of a frozen, pretrained encoder.
_base_ = './vit_finetune_mnistm5k.py'

model = dict(
    backbone=dict(frozen_stages=6),
    neck=dict(_delete_=True, type='ClsBatchNormNeck', input_features=64),
)
optim_wrapper = dict(optimizer=dict(lr=1e-2, weight_decay=0.0))
