# 500 epochs of SGD with batch size 64 are the paper's. It does not give
# learning rate, schedule and weight decay; these are usual values.
optim_wrapper = dict(
    optimizer=dict(
        type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
)
param_scheduler = dict(
    type='CosineAnnealingLR',
    eta_min=0.0,
    by_epoch=True,
    convert_to_iter_based=True,
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=500, val_interval=5)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=64)
