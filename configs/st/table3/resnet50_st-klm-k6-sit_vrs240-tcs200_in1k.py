# Table 3, row 7: also training crops of 200 px (Tcs200). With the inter-stage
# rule this is A1: ../resnet50_st_in1k.py.
_base_ = './resnet50_st-klm-k6-sit_vrs240_in1k.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1]['scale'] = 200
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [
    dict(type='mmst.SubnetSamplerHook', num_subnets=6, size_range=(86, 200))
]
