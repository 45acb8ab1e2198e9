"""Handlers reproduce a batch's own targets at the main size (contract 16)."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData

from mmst.targets import (
    SampleHandler,
    check_reproduced,
    keep,
    register_field,
    register_handler,
    resize_samples,
)
from mmst.targets.handler import find_difference
from tests.engine.dense_tasks import PIPELINES, TASKS, TinyScenes, model_cfg
from tests.targets.batches import identity, make_model
from tests.targets.snapshot import assert_same, snapshot


def make_batch(task, after=(), preprocessor=(), sigma=None):
    """The preprocessed batch, its model and data set.

    ``after`` are transforms after those that make the targets.
    """
    init_default_scope(TASKS[task][0])
    cfg = model_cfg(task)
    cfg.data_preprocessor.update(dict(preprocessor))
    if sigma is not None:
        cfg.head.decoder.sigma = sigma
    *pipeline, pack = copy.deepcopy(PIPELINES[TASKS[task][0]])
    scenes = TinyScenes(task, [*pipeline, *after, pack])
    model = MODELS.build(cfg)
    np.random.seed(0)
    data = pseudo_collate([scenes[0], scenes[1]])
    return model.data_preprocessor(data, True), model, scenes


OPTIONS = {
    'mmdet': [dict(), dict(pad_mask=False, pad_seg=False, pad_size_divisor=1)],
    'mmseg': [dict(), dict(size=None, size_divisor=64)],
    'mmpose': [dict()],
}
CASES = [
    (task, preprocessor)
    for task, (toolbox, *_) in TASKS.items()
    for preprocessor in OPTIONS[toolbox]
]


@pytest.mark.parametrize('task, preprocessor', CASES)
def test_stock_tasks(task, preprocessor):
    """Boxes, masks, maps and joints are the batch's own, copies included."""
    pytest.importorskip(TASKS[task][0])
    data, model, scenes = make_batch(task, preprocessor=preprocessor)
    before = snapshot(data['data_samples'])
    resizing = identity(data, model, scenes)
    half = [side // 2 for side in resizing.main_shape]
    check_reproduced(
        data['data_samples'],
        replace(resizing, resized_shape=half, padded_shape=half),
    )
    copies = resize_samples(data['data_samples'], resizing)
    assert_same(before, snapshot(data['data_samples']))
    for one, sample in zip(copies, data['data_samples']):
        assert one is not sample
        # By the tests' own comparison, too; boxes have other tuples.
        for name, value in sample.items():
            assert_same(snapshot(one.get(name)), snapshot(value), 1e-3, name)


def test_classes():
    """Classes are reproduced beside a user's own field too."""
    structures = pytest.importorskip('mmpretrain.structures')
    sample = structures.DataSample().set_gt_label(3)
    sample.set_metainfo(dict(img_shape=(8, 8)))
    other = sample.clone()
    other.set_field(torch.ones(4), 'embedding')
    register_field('embedding')(keep)
    data = dict(inputs=torch.zeros(2, 3, 8, 8))
    resizing = identity(data, make_model(None))
    check_reproduced([sample, other], resizing)
    check_reproduced(None, resizing)
    # No copies: batches have hundreds, and each subnet asks.
    assert resize_samples([sample], resizing)[0] is sample


class Widen:
    """A transform after GenerateTarget."""

    def __call__(self, results):
        results['heatmaps'] = results['heatmaps'] * 2
        return results


def test_what_a_transform_did_to_targets_is_refused():
    """Until a rule says how they shrink."""
    pytest.importorskip('mmpose')
    data, model, scenes = make_batch('pose', [Widen()])
    resizing = identity(data, model, scenes)
    told = (
        '`gt_fields.heatmaps` of PoseDataSample .* transform .*'
        r"register_field\('gt_fields.heatmaps'\).*"
        r"register_handler\('mmpose.*PoseDataSample'\).* set neither"
    )
    with pytest.raises(ValueError, match=told):
        check_reproduced(data['data_samples'], resizing)

    @register_field('gt_fields.heatmaps')
    def shrink(heatmaps, resizing):
        height, width = resizing.padded_shape
        return torch.nn.functional.interpolate(
            heatmaps[None], (height // 4, width // 4), mode='bilinear'
        )[0]

    check_reproduced(data['data_samples'], resizing)


def test_another_sigma_than_the_decoder_s():
    """Is right if the pipeline is known, and refused if it is not."""
    pytest.importorskip('mmpose')
    data, model, scenes = make_batch('pose', sigma=1)
    check_reproduced(data['data_samples'], identity(data, model, scenes))
    with pytest.raises(ValueError, match='`gt_fields.heatmaps` .* sigma'):
        check_reproduced(data['data_samples'], identity(data, model))


class Marks:
    """A user's own sample: points in an image."""

    def __init__(self, points):
        self.points = points


@pytest.mark.parametrize('shift, is_right', [(0.0, True), (0.5, False)])
def test_handlers_of_users(shift, is_right):
    @register_handler(f'{__name__}.Marks')
    class MarksHandler(SampleHandler):
        def resize(self, sample, resizing):
            return Marks(sample.points * resizing.scale[0] + shift)

    data = dict(inputs=torch.zeros(1, 3, 8, 8))
    resizing = identity(data, make_model(None))
    refused = pytest.raises(ValueError, match='`points` of Marks')
    with nullcontext() if is_right else refused:
        check_reproduced([Marks(torch.ones(2, 2))], resizing)


ONES = np.ones((2, 4))


def element(shape=(4, 6), **part):
    """A sample with metadata and instances."""
    part = InstanceData(**part)
    return BaseDataElement(metainfo=dict(shape=shape, flip=True), part=part)


@pytest.mark.parametrize(
    'old, new, path',
    [
        (element(boxes=ONES), element(boxes=ONES + 5e-4), None),
        (element(boxes=ONES), element(boxes=ONES + 2e-3), 'part.boxes'),
        (element(boxes=ONES), element(), 'part.boxes'),
        (element(), element(shape=(4, 5)), 'shape.1'),
        # The handler alone has it.
        (element(), element(boxes=ONES), None),
        (ONES, ONES[:1], ''),
        (ONES, np.full((2, 4), np.nan), ''),
        (['a', 'b'], ['a', 'c'], '1'),
        (['a', 'b'], ['a'], ''),
        (0.25, 0.5, ''),
        (None, 3, ''),
        (np.arange(3), torch.arange(3), None),
        (np.arange(3), np.array([0, 1, 3]), ''),
        ([[ONES], [ONES]], [[ONES], [2 * ONES]], '1.0'),
        ((4, 6), torch.Size([4, 6]), None),
        ((0.5, 1.0), np.array([0.5, 1.0]), None),
        ((0.5, 1.0), np.array([0.5, 0.9]), ''),
    ],
)
def test_differences_are_found_by_their_path(old, new, path):
    assert find_difference(old, new) == path
