"""Subnets of a real detector, by the config's own metric."""

import re
from copy import deepcopy

import pytest
import torch
from mmengine.registry import METRICS

pytest.importorskip('mmdet')
pytest.importorskip('pycocotools')

from mmst.analysis.loafing import measure_loafing  # noqa: E402
from tests.analysis.evaluation_by_hand import MeanScore  # noqa: E402
from tests.engine.dense_tasks import runner_options  # noqa: E402


@METRICS.register_module()
class MeanBoxScore(MeanScore):
    """Collect the scores of all boxes: untrained networks have no mAP."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results += sample['pred_instances']['scores'].tolist()


@pytest.fixture
def runner(digit_scenes, tiny_runner):
    """A runner of the detector with random weights.

    Tall and wide images come in batches of their own.
    """
    options = runner_options('one_stage')
    model, train = options['model'], options['train_dataloader']
    model.backbone.update(frozen_stages=-1, norm_eval=False)
    model.backbone.zero_init_residual = False
    model.bbox_head.num_classes = 80
    model.test_cfg.update(nms_pre=20, score_thr=0.0, max_per_img=10)
    model.data_preprocessor.update(mean=[127.5] * 3, std=[64.0] * 3)
    root, truth = f'{digit_scenes}/coco/', 'annotations/instances_val2017.json'
    train['dataset'] = dict(
        type='CocoDataset',
        data_root=root,
        ann_file=truth,
        data_prefix=dict(img='val2017/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(64, 64), keep_ratio=True),
            dict(type='PackDetInputs'),
        ],
    )
    order = dict(type='DefaultSampler', shuffle=False)
    options.update(
        val_dataloader=dict(train, sampler=order),
        val_evaluator=[
            dict(type='MeanBoxScore'),
            dict(type='CocoMetric', ann_file=root + truth),
        ],
        val_cfg=dict(),
    )
    train['batch_sampler'] = dict(type='AspectRatioBatchSampler')
    runner = tiny_runner(**options)
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
