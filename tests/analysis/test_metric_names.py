"""Which metric is read, and its unit."""

import pytest

from mmst.analysis.metric_names import choose_metric, label_metric


@pytest.mark.parametrize(
    'metrics, expected',
    [
        (
            ['coco/segm_mAP', 'coco/bbox_mAP', 'coco/bbox_mAP_50'],
            'coco/bbox_mAP',
        ),
        (['coco/segm_mAP_50', 'coco/segm_mAP'], 'coco/segm_mAP'),
        (['pascal_voc/AP50', 'pascal_voc/mAP'], 'pascal_voc/mAP'),
        (['aAcc', 'mIoU', 'mAcc'], 'mIoU'),
        (['coco/AP .5', 'coco/AP'], 'coco/AP'),
        (['accuracy/top5', 'accuracy/top1'], 'accuracy/top1'),
        (['coco_panoptic/PQ'], 'coco_panoptic/PQ'),
        (['mine'], 'mine'),
    ],
)
def test_usual_metric(metrics, expected):
    assert choose_metric(dict.fromkeys(metrics, 0.0)) == expected


def test_no_usual_metric():
    with pytest.raises(ValueError, match=r"--metric: \['a', 'b'\]"):
        choose_metric(dict(b=0.0, a=1.0))


def test_units():
    assert label_metric('accuracy/top1') == 'accuracy/top1 (%)'
    assert label_metric('coco/bbox_mAP') == 'coco/bbox_mAP (0 to 1)'
    assert label_metric('mine') == 'mine'
