"""A tiny detector of mmdet on tiny images with one box each."""

import json
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from PIL import Image

CONFIG = """
default_scope = 'mmdet'
norm = dict(type='BN', requires_grad=True)
model = dict(
    type='FCOS',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[127.5] * 3, std=[64.] * 3,
        pad_size_divisor=32),
    backbone=dict(
        type='ResNet', depth=18, base_channels=4, stem_channels=4,
        norm_eval={norm_eval}, norm_cfg=norm, zero_init_residual=False,
        out_indices=(1, 2, 3)),
    neck=dict(type='FPN', in_channels=[8, 16, 32], out_channels=8,
              add_extra_convs='on_output', num_outs=5),
    bbox_head=dict(
        type='FCOSHead', num_classes=2, in_channels=8, feat_channels=8,
        stacked_convs=1, strides=[8, 16, 32, 64, 128], norm_cfg=None),
    test_cfg=dict(nms_pre=20, score_thr=0., max_per_img=10,
                  nms=dict(type='nms', iou_threshold=0.5)))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape',
                                          'scale_factor'))]
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='CocoDataset', data_root={root!r}, ann_file='boxes.json',
        data_prefix=dict(img='images'), pipeline=pipeline,
        metainfo=dict(classes=('a', 'b'))))
val_dataloader = dict(train_dataloader, batch_sampler=None,
                      sampler=dict(type='DefaultSampler', shuffle=False))
val_evaluator = [
    dict(type='MeanBoxScore'),
    dict(type='CocoMetric', ann_file={root!r} + '/boxes.json', metric='bbox')]
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
"""


@METRICS.register_module()
class MeanBoxScore(BaseMetric):
    """Mean score of all boxes: untrained networks have no mAP."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results += sample['pred_instances']['scores'].tolist()

    def compute_metrics(self, results):
        return dict(mean_score=sum(results) / len(results))


def write_detector(folder: Path, norm_eval: bool, sizes) -> str:
    """Write config and data.

    Args:
        folder: Where to.
        norm_eval: Whether the backbone's BatchNorm is frozen.
        sizes: (width, height) of each image.

    Returns:
        str: The config's path.
    """
    (folder / 'images').mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for index, (width, height) in enumerate(sizes):
        pixels = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'images' / f'{index}.png')
        images.append(
            dict(
                id=index, file_name=f'{index}.png', width=width, height=height
            )
        )
        boxes.append(
            dict(
                id=index + 1,
                image_id=index,
                iscrowd=0,
                area=400,
                category_id=index % 2,
                bbox=[4, 6, 20, 20],
            )
        )
    (folder / 'boxes.json').write_text(
        json.dumps(
            dict(
                images=images,
                annotations=boxes,
                categories=[dict(id=0, name='a'), dict(id=1, name='b')],
            )
        )
    )
    path = folder / 'detector.py'
    path.write_text(CONFIG.format(root=str(folder), norm_eval=norm_eval))
    return str(path)
