# MobileNetV3 on CIFAR-10: common training.
_base_ = [
    '../_base_/models/mobilenet_v3_small_cifar.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/sgd_cifar_500e.py',
    '../_base_/default_runtime.py',
]
