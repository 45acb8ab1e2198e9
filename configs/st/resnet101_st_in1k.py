# ResNet-101 on ImageNet, 100 epochs (Fig. 8): stimulative training, plain KL,
# one ordered subnet.
_base_ = './table3/resnet50_st-kl-k1_in1k.py'

model = dict(backbone=dict(depth=101))
train_cfg = dict(max_epochs=100)
