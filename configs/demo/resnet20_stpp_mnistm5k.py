# Stimulative training++ (ST++): several subnets, KL-, smaller inputs.
_base_ = './resnet20_st_mnistm5k.py'

model = dict(
    head=dict(
        loss_kl=dict(normalize='standardize', scale=2.0)))

custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        size_range=(0.75, 1.0))
]
