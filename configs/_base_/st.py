# Stimulative training of a classifier: plain KL, one ordered subnet.
st_head = dict(
    type='mmst.STClsHead',
    loss_kl=dict(type='mmst.KLMinusLoss', normalize=None),
)
subnet_sampler = dict(type='mmst.SubnetSamplerHook', num_subnets=1)
