# Table 3, row 3: KL- and six subnets.
_base_ = './resnet50_st-kl-k1_in1k.py'

model = dict(
    head=dict(loss_kl=dict(normalize='standardize'), normalize_main=True)
)
custom_hooks = [dict(type='mmst.SubnetSamplerHook', num_subnets=6)]
