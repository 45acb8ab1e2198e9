"""Which metric is read, and its unit."""

import pytest

from mmst.analysis.results import choose_metric, choose_rule, label_metric


@pytest.mark.parametrize(
    'metrics',
    [
        ['coco/bbox_mAP', 'coco/segm_mAP', 'coco/bbox_mAP_50'],
        ['coco/segm_mAP', 'coco/segm_mAP_50'],
        ['pascal_voc/mAP', 'pascal_voc/AP50'],
        ['mIoU', 'aAcc', 'mAcc'],
        ['coco/AP', 'coco/AP .5'],
        ['accuracy/top1', 'accuracy/top5'],
        ['coco_panoptic/PQ'],
        ['mine'],
    ],
)
def test_usual_metric(metrics):
    for given in (metrics, metrics[::-1]):
        assert choose_metric(dict.fromkeys(given, 0.0)) == metrics[0]


def test_no_usual_metric():
    with pytest.raises(ValueError, match=r"--metric: \['a', 'b'\]"):
        choose_metric(dict(b=0.0, a=1.0))


def test_units():
    assert label_metric('coco/bbox_mAP') == 'coco/bbox_mAP (0 to 1)'
    assert label_metric('mine') == 'mine'
    assert label_metric('NME', 'less') == 'NME (less is better)'
    assert label_metric('top1_error', 'less') == (
        'top1_error (%, less is better)'
    )


@pytest.mark.parametrize(
    'rule, metrics',
    [
        ('less', 'NME EPE rmse depth/rmse_log top1_error MPJPE PA-MPJPE'),
        ('less', 'abs_rel MeanError val_loss'),
        ('greater', 'accuracy/top1 coco/bbox_mAP mIoU PCK AUC d1 mine'),
        ('greater', 'coco/AR@100 NMEANs merely'),
    ],
)
def test_rule_by_name(rule, metrics):
    for metric in metrics.split():
        assert choose_rule(metric) == rule, metric


@pytest.mark.parametrize(
    'hook, rule',
    [
        (dict(save_best='mine', rule='less'), 'less'),
        (dict(save_best='some/mine', rule='less'), 'less'),
        (dict(save_best=['PCK', 'mine'], rule=['greater', 'less']), 'less'),
        (dict(save_best=['PCK', 'mine'], rule='less'), 'less'),
        (dict(save_best='other', rule='less'), 'greater'),
        (dict(save_best='auto', rule='less'), 'greater'),
        (dict(save_best='mine'), 'greater'),
        (None, 'greater'),
    ],
)
def test_rule_of_the_config_counts_more(hook, rule):
    cfg = dict(default_hooks=dict(checkpoint=hook))
    assert choose_rule('some/mine', cfg) == rule
    assert choose_rule('some/mine', cfg, 'greater') == 'greater'


def test_rule_that_is_none():
    cfg = dict(
        default_hooks=dict(checkpoint=dict(save_best='NME', rule='smaller'))
    )
    with pytest.raises(ValueError, match="'smaller' of NME .* 'greater' or"):
        choose_rule('NME', cfg)
