# Nesterov SGD, cosine to zero stepped every iteration, no warm-up; weight
# decay on every parameter.
optim_wrapper = dict(
    optimizer=dict(
        type='SGD', lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
)
param_scheduler = dict(
    type='CosineAnnealingLR',
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# 8 GPUs x 64 images.
auto_scale_lr = dict(base_batch_size=512)
