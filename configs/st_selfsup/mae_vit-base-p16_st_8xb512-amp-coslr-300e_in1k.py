# MAE with stimulative training: in every iteration also an encoder of 6 to 12
# layers. The paper gives no settings; these are ours and not tuned.
_base_ = 'mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'

custom_imports = dict(imports=['mmst'], allow_failed_imports=False)
# The inherited one has a scope, which mmengine would pass to the function.
train_dataloader = dict(collate_fn=dict(_delete_=True, type='default_collate'))
train_cfg = dict(type='mmst.STEpochBasedTrainLoop')
custom_hooks = [
    dict(type='mmst.SubnetSamplerHook', num_subnets=1, min_depth=6)
]
