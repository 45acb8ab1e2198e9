# ST++ on the demo's digits, as a pure Python config of MMEngine's new style.
from mmengine.config import read_base
from mmengine.optim import CosineAnnealingLR, LinearLR
from mmpretrain.models import (
    GlobalAveragePooling,
    ImageClassifier,
    LinearClsHead,
    ResNet,
)
from torch.optim import SGD

from mmst.engine import (
    STEpochBasedTrainLoop,
    SubnetMetricsHook,
    SubnetSamplerHook,
)
from mmst.models import KLMinusLoss, STClsHead

with read_base():
    from .configs._base_.datasets.mnistm5k import *  # noqa: F403
    from .configs._base_.default_runtime import *  # noqa: F403

num_epochs = 2  # enough to see that all works

head = dict(type=LinearClsHead, num_classes=10, in_channels=512, topk=(1,))
model = dict(
    type=ImageClassifier,
    backbone=dict(type=ResNet, depth=18, zero_init_residual=False),
    neck=dict(type=GlobalAveragePooling),
    head=dict(
        type=STClsHead,
        head=head,
        loss_kl=dict(type=KLMinusLoss, normalize='standardize'),
        normalize_main=True,
    ),
)
custom_hooks = [
    dict(
        type=SubnetSamplerHook,
        num_subnets=3,
        min_depth=1,
        size_range=(0.75, 1.0),
    ),
    dict(type=SubnetMetricsHook, interval=1),
]

optim_wrapper = dict(
    optimizer=dict(type=SGD, lr=0.02, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(type=LinearLR, start_factor=0.01, end=1, convert_to_iter_based=True),
    dict(type=CosineAnnealingLR, begin=1, convert_to_iter_based=True),
]
train_cfg = dict(type=STEpochBasedTrainLoop, max_epochs=num_epochs)
val_cfg = dict()
test_cfg = dict()
