# A1 as trained and tested by the authors' released code. docs/forms.md
# compares it with resnet50_st_in1k.py, and says how to make BatchNorm see 256
# images.
_base_ = './resnet50_st_in1k.py'

# Images are read and resized by PIL.
read = dict(imdecode_backend='pillow', color_type='color_ignore_orientation')
train_pipeline = _base_.train_pipeline
train_pipeline[0].update(read)
train_pipeline[1]['backend'] = 'pillow'
# In the released code, lighting is on the scale 0 to 1 and images are uint8,
# so a channel is lowered by at most one grey level.
train_pipeline[4]['dtype'] = 'uint8'
train_pipeline[5]['eigval'] = [0.2175, 0.0188, 0.0045]
test_pipeline = _base_.test_pipeline
test_pipeline[0].update(read)
test_pipeline[1]['backend'] = 'pillow'
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# Subnets update the running BatchNorm statistics, which are re-estimated from
# four batches before validation. Each subnet's input is resized from the
# previous one's and normalised again.
train_cfg = dict(
    update_running_stats=True,
    chain_inputs=True,
    input_transforms=['normalize'],
)
custom_hooks = _base_.custom_hooks + [
    dict(type='PreciseBNHook', num_samples=2048)
]
