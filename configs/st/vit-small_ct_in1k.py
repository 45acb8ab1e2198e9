# ViT-S/16 on ImageNet, 100 epochs (Fig. 8): common training. The paper does
# not say which ViT it used.
_base_ = [
    '../_base_/datasets/imagenet_crop224.py',
    '../_base_/schedules/adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
    ),
    head=dict(
        type='VisionTransformerClsHead', num_classes=1000, in_channels=384
    ),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
train_dataloader = dict(batch_size=256)
