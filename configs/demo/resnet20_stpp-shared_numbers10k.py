# Stimulative training++ (ST++): KL-, three subnets with at least two blocks
# per stage, smaller inputs: one size per iteration, so that they share
# prefixes.
_base_ = './resnet20_st_numbers10k.py'

model = dict(
    head=dict(
        # KL- as released. With 100 classes, standardised logits have norm 10.
        loss_kl=dict(normalize='standardize'),
        normalize_main=True,
    )
)
custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        min_depth=2,
        size_range=(0.75, 1.0),
        num_sizes=1,
    )
]
