# 500 epochs of SGD with batch size 64 are the paper's. It does not give
# learning rate, schedule and weight decay; these are usual values.
_base_ = './sgd_200e.py'

optim_wrapper = dict(optimizer=dict(lr=0.05, weight_decay=5e-4))
train_cfg = dict(max_epochs=500, val_interval=5)
auto_scale_lr = dict(base_batch_size=64)
