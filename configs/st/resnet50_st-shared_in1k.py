# A1 with one input size for the six subnets of an iteration: they share
# prefixes, about half of the cost. The size is drawn for every iteration,
# depths as in A1. Ours, not a row of the paper.
_base_ = './resnet50_st_in1k.py'

custom_hooks = [dict(num_sizes=1, **_base_.custom_hooks[0])]
