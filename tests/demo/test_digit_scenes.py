"""The small data for dense tasks, as the toolboxes read and score it.

It is read with the data settings of the toolboxes' own configs, of which only
the data root changes, and the truth gets the full score from their metrics.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DATASETS, METRICS, init_default_scope
from PIL import Image

from .conftest import files_of

LOAD = dict(type='LoadImageFromFile')
NUM = dict(train=3, val=8)


@pytest.fixture
def read(digit_scenes):
    """Return a stock config's validation data and its metric."""

    def read(path: str, loading: list, **changes) -> tuple:
        text = re.sub(
            r'data/(coco|cityscapes)/',
            rf'{digit_scenes}/\1/',
            get_config(path).pretty_text,
        )
        cfg = Config.fromstring(text, '.py')
        init_default_scope(cfg.default_scope)
        cfg.val_dataloader.dataset.update(pipeline=loading, **changes)
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        metric = METRICS.build(cfg.val_evaluator)
        metric.dataset_meta = dataset.metainfo
        return dataset, metric

    return read


def score(metric, samples: list) -> dict:
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def annotations(data: Path, name: str) -> dict:
    return json.loads((data / f'coco/annotations/{name}.json').read_text())


def test_instances(read):
    pytest.importorskip('mmdet')
    loading = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    dataset, metric = read(
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        [LOAD, loading, dict(type='PackDetInputs')],
    )
    assert len(dataset) == NUM['val'] and len(dataset.cat_ids) == 80
    samples, labels = [], set()
    for item in dataset:
        sample = item['data_samples']
        truth, boxes = sample.gt_instances, sample.gt_instances.bboxes.tensor
        assert len(sample.ignored_instances) == 0
        masks = torch.from_numpy(truth.masks.masks).bool()
        for mask, box in zip(masks, boxes):
            y, x = torch.where(mask)
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert masks.sum(dim=0).max() == 1  # what is hidden is not annotated
        labels |= set(truth.labels.tolist())
        found = dict(bboxes=boxes, labels=truth.labels, masks=masks)
        found['scores'] = torch.ones(len(boxes))
        samples.append(dict(sample.metainfo, pred_instances=found))
    assert labels <= set(range(11)) and len(labels) > 5
    scores = score(metric, samples)
    assert scores['coco/bbox_mAP'] == scores['coco/segm_mAP'] == 1
    for sample in samples:  # puppets are taken for the digit 0
        sample['pred_instances']['labels'].clamp_(min=1)
    scores = score(metric, samples)
    assert 0.5 < scores['coco/bbox_mAP'] < 1
    assert 0.5 < scores['coco/segm_mAP'] < 1


def test_panoptic(read):
    pytest.importorskip('mmdet')
    pytest.importorskip('panopticapi')
    dataset, metric = read(
        'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        [
            *(LOAD, dict(type='LoadPanopticAnnotations')),
            dict(type='PackDetInputs'),
        ],
    )
    assert len(dataset) == NUM['val'] and len(dataset.cat_ids) == 133
    maps, metas, stuff = [], [], set()
    for item in dataset:
        sample = item['data_samples']
        semantic = sample.gt_sem_seg.sem_seg[0].long()
        assert (semantic == 255).any()  # rims
        panoptic = torch.where(semantic == 255, 133, semantic)
        stuff |= set(semantic[(semantic >= 80) & (semantic < 255)].tolist())
        truth = sample.gt_instances
        segments = zip(truth.masks.masks, truth.labels)
        for number, (mask, label) in enumerate(segments, start=1):
            assert (semantic[mask > 0] == label).all()
            panoptic[mask > 0] += 1000 * number
        assert (panoptic < 1000)[semantic < 80].sum() == 0
        maps.append(panoptic)
        metas.append(sample.metainfo)
    classes = dataset.metainfo['classes']
    shown = {'flower', 'banner', 'building-other-merged'}
    assert {classes[label] for label in stuff} == shown

    def pq(maps) -> tuple:
        found = [dict(sem_seg=panoptic[None].clone()) for panoptic in maps]
        scores = score(
            metric,
            [dict(m, pred_panoptic_seg=each) for m, each in zip(metas, found)],
        )
        return scores['coco_panoptic/PQ_th'], scores['coco_panoptic/PQ_st']

    assert pq(maps) == (100, 100)
    flower, banner = map(classes.index, ('flower', 'banner'))
    things, others = pq([each.where(each != flower, banner) for each in maps])
    assert things == 100 and others < 67


def test_keypoints(read):
    pytest.importorskip('mmpose')
    dataset, metric = read(
        'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
        'td-hm_res50_8xb64-210e_coco-256x192.py',
        [
            dict(type='LoadImage'),
            dict(type='RandomFlip', direction='horizontal', prob=1.0),
        ],
        bbox_file=None,
    )
    names = list(dataset.metainfo['keypoint_id2name'].values())
    left, right = names.index('left_shoulder'), names.index('right_shoulder')
    samples = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        points = info['keypoints']
        if info['keypoints_visible'][0, [left, right]].all():
            # The puppet's left is on the right, also in a mirror.
            for each in (points, dataset[index]['keypoints']):
                assert each[0, left, 0] > each[0, right, 0]
        samples.append(
            dict(
                id=info['id'],
                img_id=info['img_id'],
                pred_instances=dict(
                    keypoints=points, keypoint_scores=np.ones((1, 17))
                ),
                gt_instances=dict(bbox_scores=np.ones(1)),
            )
        )
    assert NUM['val'] <= len(samples) <= 2 * NUM['val']
    assert score(metric, samples)['coco/AP'] == 1
    for sample in samples:
        found = sample['pred_instances']
        found['keypoints'] = found['keypoints'] + 8
    assert score(metric, samples)['coco/AP'] < 0.6


def test_cityscapes(read):
    pytest.importorskip('mmseg')
    dataset, metric = read(
        'mmseg::sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
        [LOAD, dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
    )
    assert len(dataset) == NUM['val']
    truths = []
    for item in dataset:
        truths.append(item['data_samples'].gt_sem_seg.data)
        assert item['inputs'].shape[1:] == truths[-1].shape[1:] == (128, 256)
    ids = torch.cat(truths).unique().tolist()
    assert ids[-1] == 255 and len(ids) > 10
    assert set(ids[:-1]) <= {2, 3, 5, 6, 7, 8, *range(11, 19)}

    def miou(predictions) -> float:
        samples = [
            dict(pred_sem_seg=dict(data=found), gt_sem_seg=dict(data=truth))
            for found, truth in zip(predictions, truths)
        ]
        return score(metric, samples)['mIoU']

    # Guesses where the truth is to be ignored do not count.
    guesses = [truth.clamp(max=18) for truth in truths]
    assert miou(guesses) == 100
    assert miou([torch.where(each == 11, 2, each) for each in guesses]) < 95


def test_categories(digit_scenes):
    datasets = pytest.importorskip('mmdet.datasets')
    pose_datasets = pytest.importorskip('mmpose.datasets.datasets')
    metainfo = datasets.CocoPanopticDataset.METAINFO
    panoptic, instances, (person,) = (
        annotations(digit_scenes, f'{name}_val2017')['categories']
        for name in ('panoptic', 'instances', 'person_keypoints')
    )
    for key in ('stuff_classes', 'thing_classes'):
        isthing = key == 'thing_classes'
        names = [c['name'] for c in panoptic if c['isthing'] == isthing]
        assert names == list(metainfo[key])
    assert instances == panoptic[:80]
    shows = [each['shows'] for each in instances[:11]]
    assert shows == ['puppet', *'0123456789']
    assert person['id'] == 1
    names = pose_datasets.CocoDataset(lazy_init=True).metainfo
    assert dict(enumerate(person['keypoints'])) == names['keypoint_id2name']


@pytest.mark.parametrize('split', NUM)
def test_files_agree(digit_scenes, split):
    """The three COCO files are about the same objects."""
    instances, person, panoptic = (
        annotations(digit_scenes, f'{name}_{split}2017')
        for name in ('instances', 'person_keypoints', 'panoptic')
    )
    assert instances['images'] == person['images'] == panoptic['images']
    assert len(instances['images']) == NUM[split]
    things = {each['id']: each for each in instances['annotations']}
    assert len(things) == len(instances['annotations'])
    puppets = [key for key, each in things.items() if each['category_id'] == 1]
    assert puppets == [each['id'] for each in person['annotations']]
    for puppet in person['annotations']:
        assert things[puppet['id']].items() <= puppet.items()
    coco = digit_scenes / 'coco'
    maps = coco / f'annotations/panoptic_{split}2017'
    for image, entry in zip(panoptic['images'], panoptic['annotations']):
        assert entry['image_id'] == image['id']
        colours = np.asarray(Image.open(maps / entry['file_name']), int)
        with Image.open(coco / f'{split}2017' / image['file_name']) as it:
            assert it.size == (image['width'], image['height'])
            assert it.size == colours.shape[1::-1] and it.mode == 'RGB'
        segments = entry['segments_info']
        ids, areas = np.unique(colours @ (1, 256, 65536), return_counts=True)
        found = dict(zip(ids[1:], areas[1:]))
        assert ids[0] == 0
        assert found == {each['id']: each['area'] for each in segments}
        in_image = (e for e in things.values() if e['image_id'] == image['id'])
        assert [
            (each['category_id'], each['area'], each['bbox'])
            for each in segments
            if each['category_id'] < 91
        ] == [(e['category_id'], e['area'], e['bbox']) for e in in_image]


def test_no_digit_is_in_two_splits(digit_scenes_tool, load_tool):
    sources = digit_scenes_tool.load_split_sources(3)
    train, val = (
        {digit.tobytes() for digit in sources[split].digits}
        for split in ('train', 'val')
    )
    assert len(train) == 4000 and len(val) == 1000 and not train & val
    mnistm5k = load_tool('demo/dataset_converters/mnistm5k')
    digits, labels, _ = digit_scenes_tool.load_sources()
    rows = mnistm5k.split_rows(labels, 3)['val']
    assert val == {digit.tobytes() for digit in digits[rows]}
    assert np.array_equal(sources['val'].labels, labels[rows])


def test_same_seed_same_bytes(digit_scenes_tool, digit_scenes, tmp_path):
    for name, seed in dict(a=0, b=0, c=1).items():
        assert digit_scenes_tool.write_digit_scenes(
            tmp_path / name, seed, 1, 2
        )
    first, second, other = (files_of(tmp_path / name) for name in 'abc')
    assert first == second and first.keys() == other.keys()
    whole = files_of(digit_scenes)
    for name in first:
        if not name.endswith('json'):
            assert first[name] != other[name]
            assert first[name] == whole[name]  # whatever is written besides
    pixels, others = (
        np.asarray(Image.open(min((tmp_path / name).rglob('*Img8bit.png'))))
        for name in 'ac'
    )
    assert (pixels == others).mean() < 0.2  # not only other digits


@pytest.mark.parametrize('option', ['--seed', '--num-train', '--num-val'])
def test_numbers_too_small(digit_scenes_tool, tmp_path, option):
    with pytest.raises(ValueError, match=f'{option} -1: must'):
        digit_scenes_tool.main(['--out', str(tmp_path / 'x'), option, '-1'])
    assert not any(tmp_path.iterdir())
