# R50-ST: a classifier trained by configs/st/resnet50_st-ua_in1k.py (A2), or
# the authors', converted by tools/model_converters/resnet_to_mmpretrain.py.
backbone_init = dict(
    type='Pretrained',
    checkpoint='checkpoints/resnet50_st-ua_in1k.pth',
    prefix='backbone.',
)
