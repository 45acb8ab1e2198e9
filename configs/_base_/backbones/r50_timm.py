# R50-timm: timm's A1 recipe. The names of its tensors are torchvision's.
backbone_init = dict(
    type='Pretrained',
    checkpoint='https://github.com/huggingface/pytorch-image-models/releases/'
    'download/v0.1-rsb-weights/resnet50_a1_0-14fe96d1.pth',
)
