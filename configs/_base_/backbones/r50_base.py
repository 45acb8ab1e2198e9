# R50-base: torchvision's first ResNet-50, 76.1 % top-1.
backbone_init = dict(type='Pretrained', checkpoint='torchvision://resnet50')
