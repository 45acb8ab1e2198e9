# MAE of the small ViT with stimulative training: in every iteration also an
# encoder of three to six layers.
_base_ = './vit_mae_mnistm5k.py'

train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [
    dict(type='mmst.SubnetSamplerHook', num_subnets=1, min_depth=3)
]
