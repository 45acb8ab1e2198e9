# SimpleBaseline2D with R50-ST*, which the paper does not have.
_base_ = [
    './td-hm_res50-st_8xb64-210e_coco-256x192.py',
    '../_base_/st_star.py',
]

train_cfg = dict(
    _delete_=True,
    type='mmst.STEpochBasedTrainLoop',
    max_epochs=_base_.train_cfg.max_epochs,
    val_interval=_base_.train_cfg.val_interval,
)
# Sizes down to 0.43, as for the detectors, cost a small pose model much
# accuracy; sizes down to 0.75 did not ("Fine-tuning, measured" in README.md).
custom_hooks = _base_.custom_hooks + [
    dict(_base_.subnet_sampler, size_range=(0.75, 1.0))
]
# Subnets' targets are encoded again, from keypoints that samples hold only so.
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.train_dataloader.dataset.pipeline[:-1],
            dict(type='PackPoseInputs', pack_transformed=True),
        ]
    )
)
