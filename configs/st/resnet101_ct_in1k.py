# ResNet-101 on ImageNet, 100 epochs (Fig. 8): common training.
_base_ = './table3/resnet50_ct-crop224_in1k.py'

model = dict(backbone=dict(depth=101))
train_cfg = dict(max_epochs=100)
