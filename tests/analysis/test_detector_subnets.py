"""Subnets of a real detector, by the config's own metric."""

import re
from copy import deepcopy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS
from mmengine.runner import Runner

pytest.importorskip('mmdet')
pytest.importorskip('pycocotools')

from mmst.analysis.loafing import measure_loafing  # noqa: E402
from mmst.launch.toolbox import check_toolbox  # noqa: E402
from tests.analysis.evaluation_by_hand import MeanScore  # noqa: E402
from tests.engine.dense_tasks import model_cfg  # noqa: E402


@METRICS.register_module()
class MeanBoxScore(MeanScore):
    """Of all boxes: untrained networks have no mAP."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results += sample['pred_instances']['scores'].tolist()


@pytest.fixture
def runner(digit_scenes, tmp_path):
    """A runner of the detector with random weights.

    Tall and wide images come in batches of their own.
    """
    options = dict(norm_eval=False, zero_init_residual=False)
    model = model_cfg('one_stage', frozen_stages=-1, **options)
    model.bbox_head.num_classes = 80
    model.test_cfg.update(nms_pre=20, score_thr=0.0, max_per_img=10)
    model.data_preprocessor.update(mean=[127.5] * 3, std=[64.0] * 3)
    keys = ('img_id', 'ori_shape', 'img_shape', 'scale_factor')
    train = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_sampler=dict(type='AspectRatioBatchSampler'),
        dataset=dict(
            type='CocoDataset',
            data_root=f'{digit_scenes}/coco/',
            ann_file='annotations/instances_val2017.json',
            data_prefix=dict(img='val2017/'),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='Resize', scale=(64, 64), keep_ratio=True),
                dict(type='PackDetInputs', meta_keys=keys),
            ],
        ),
    )
    order = dict(type='DefaultSampler', shuffle=False)
    truth = f'{digit_scenes}/coco/annotations/instances_val2017.json'
    coco = dict(type='CocoMetric', ann_file=truth)
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=model,
            train_dataloader=train,
            val_dataloader=dict(train, batch_sampler=None, sampler=order),
            val_evaluator=[dict(type='MeanBoxScore'), coco],
            train_cfg=dict(by_epoch=True, max_epochs=1),
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            work_dir=str(tmp_path / 'work'),
            randomness=dict(seed=0),
        )
    )
    check_toolbox(cfg)
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    return runner


def test_loafing_by_the_own_metric(runner):
    """Found without being named; a subnet's scores are of its blocks only."""
    before = deepcopy(runner.model.state_dict())
    metric, scores = measure_loafing(runner, subnets=[(1, 1, 1, 1)])
    assert metric == 'coco/bbox_mAP'
    assert list(scores) == ['main', '1-1-1-1']
    assert all(0 <= score <= 1 for score in scores.values())
    _, fine = measure_loafing(runner, 'mean_score')
    assert len(set(fine.values())) == len(fine) == 3
    torch.testing.assert_close(
        runner.model.state_dict(), before, rtol=0, atol=0
    )
    with torch.no_grad():
        for name, parameter in runner.model.backbone.named_parameters():
            if re.match(r'layer\d\.1\.', name):
                parameter.normal_()
    _, again = measure_loafing(runner, 'mean_score')
    assert again['1-1-1-1'] == pytest.approx(fine['1-1-1-1'], abs=1e-6)
    assert again['2-2-2-2'] != pytest.approx(fine['2-2-2-2'], abs=1e-6)
