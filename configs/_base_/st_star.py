# ST*: subnets in fine-tuning too. Use it with one of mmst's train loops. The
# paper gives neither the number of subnets nor their space or sizes: these are
# ours.
custom_imports = dict(imports=['mmst'], allow_failed_imports=False)
subnet_sampler = dict(
    type='mmst.SubnetSamplerHook',
    num_subnets=1,
    space=[1, 2, 4, 1],
    size_range=(0.43, 1.0),
)  # of the main input's shorter side
