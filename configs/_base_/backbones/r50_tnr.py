# R50-tnr: torchvision's new recipe.
backbone_init = dict(
    type='Pretrained', checkpoint='torchvision://resnet50.imagenet1k_v2'
)
