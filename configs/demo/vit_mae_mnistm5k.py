# Masked pretraining (MAE) of the small ViT, without labels: common training.
_base_ = './vit_ct_mnistm5k.py'

data_preprocessor = dict(
    _delete_=True,
    type='SelfSupDataPreprocessor',
    mean=[127.5, 127.5, 127.5],
    std=[63.75, 63.75, 63.75],
    to_rgb=True,
)
model = dict(
    _delete_=True,
    type='MAE',
    backbone=dict(
        type='MAEViT',
        arch=_base_.model.backbone.arch,
        img_size=_base_.model.backbone.img_size,
        patch_size=_base_.model.backbone.patch_size,
    ),
    neck=dict(
        type='MAEPretrainDecoder',
        num_patches=64,  # (img_size / patch_size) ** 2
        patch_size=_base_.model.backbone.patch_size,
        embed_dim=64,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=4,
    ),
    head=dict(
        type='MAEPretrainHead',
        norm_pix=True,
        patch_size=_base_.model.backbone.patch_size,
        loss=dict(type='PixelReconstructionLoss', criterion='L2'),
    ),
)
# Nothing to validate without labels.
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None
