# MobileNetV3 on CIFAR-100: common training.
_base_ = [
    '../_base_/models/mobilenet_v3_small_cifar.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/sgd_cifar_500e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
