# The small ViT, fine-tuned from a pretrained encoder (--cfg-options
# model.backbone.init_cfg.checkpoint=...).
_base_ = './vit_ct_mnistm5k.py'

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='', prefix='backbone.')
    )
)
