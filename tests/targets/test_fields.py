"""Samples shrink by the handler of their type, each field by a rule."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from torch import nn

from mmst.targets import (
    Resizing,
    SampleHandler,
    keep,
    register_field,
    register_handler,
    resize_samples,
)
from tests.targets.batches import make_model

SHAPE = (96, 128)


def test_scale_and_shapes():
    resizing = Resizing((8, 12), (4, 7), (8, 8), 8, nn.Module())
    assert resizing.scale == (4 / 8, 7 / 12)
    assert resizing.resize_shape((6, 9)) == (3, 5)
    assert resizing.resize_shape((1, 1)) == (1, 1)
    assert resizing.update_scale_factor((2.0, 3.0)) == (2.0 * 7 / 12, 3.0 / 2)
    assert resize_samples(None, resizing) is None


class Sample:
    pass


class Derived(Sample):
    pass


def resized(sample):
    resizing = Resizing(SHAPE, (48, 64), (48, 64), 1, make_model(nn.Module()))
    (small,) = resize_samples([sample], resizing)
    return small


def test_subclasses_are_resized_as_their_base():
    @register_handler(f'{__name__}.Sample')
    class Samples(SampleHandler):
        def resize(self, sample, resizing):
            return sample, resizing.scale

    for sample in (Sample(), Derived()):
        assert resized(sample) == (sample, (0.5, 0.5))
    with pytest.raises(
        TypeError,
        match='builtins.int has no handler. Known: .*DataSample, .*Sample. '
        'Register one .*register_handler`, or set neither',
    ):
        resized(7)


def detection(**instances):
    structures = pytest.importorskip('mmdet.structures')
    sample = structures.DetDataSample(metainfo=dict(img_shape=SHAPE))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10.0, 60.0, 60.0], [8.0, 8.0, 9.5, 9.5]]),
        labels=torch.tensor([0, 1]),
        **instances,
    )
    return sample


def segmentation(**maps):
    structures = pytest.importorskip('mmseg.structures')
    return structures.SegDataSample(
        metainfo=dict(img_shape=SHAPE),
        gt_sem_seg=PixelData(data=torch.zeros(1, *SHAPE), **maps),
    )


def points():
    return torch.tensor([[35.0, 36.0], [8.5, 8.5]])


# Each has one field that depends on the image's size, and none knows of it.
UNKNOWN = {
    'gt_instances.points': lambda: detection(points=points()),
    'gt_instances.areas': lambda: detection(areas=[2500.0, 1.0]),
    # What BoxInst's data preprocessor adds.
    'gt_instances.pairwise_masks': lambda: detection(
        pairwise_masks=torch.zeros(2, 8, 24, 32)
    ),
    'ignored_instances.points': lambda: detection().new(
        ignored_instances=InstanceData(points=points())
    ),
    'proposals.points': lambda: detection().new(
        proposals=InstanceData(points=points())
    ),
    'gt_sem_seg.offsets': lambda: segmentation(offsets=torch.zeros(2, *SHAPE)),
    'gt_depth': lambda: segmentation().new(gt_depth=np.zeros(SHAPE)),
    'focal': lambda: segmentation().new(
        metainfo=dict(img_shape=SHAPE, focal=700.0)
    ),
    'mask': lambda: DataSample(mask=torch.zeros(14, 14)),
    'gt_bboxes': lambda: DataSample(gt_bboxes=torch.zeros(1, 4)),
}


@pytest.mark.parametrize('name', UNKNOWN)
def test_unknown_field_is_refused_by_name(name):
    with pytest.raises(TypeError, match=f'`{name}` .*register_field'):
        resized(UNKNOWN[name]())


@pytest.mark.parametrize('name', ['points', 'gt_instances.points'])
def test_rule_by_name(name):
    @register_field(name)
    def shrink(old, resizing):
        height, width = resizing.scale
        return old * old.new_tensor([width, height])

    sample = detection(points=points())
    small = resized(sample)
    # The second box is less than a pixel now, and its points went with it.
    assert small.gt_instances.points.tolist() == [[17.5, 18.0]]
    assert torch.equal(sample.gt_instances.points, points())


class Points:
    """A type of a user's own, as long as there are instances."""

    def __init__(self, xy):
        self.xy = np.array(xy)

    def __len__(self):
        return len(self.xy)

    def __getitem__(self, index):
        return Points(self.xy[index])

    @staticmethod
    def cat(parts):
        return Points(np.concatenate([part.xy for part in parts]))


def test_rule_by_type():
    @register_field(f'{__name__}.Points')
    def shrink(old, resizing):
        return Points(old.xy * resizing.scale[::-1])

    small = resized(detection(corners=Points([[4, 6], [1, 1]])))
    assert small.gt_instances.corners.xy.tolist() == [[2, 3]]


def test_what_the_user_says_stays_and_text_and_flags_do():
    register_field('gt_instances.embedding')(keep)
    register_field('camera')(keep)
    sample = detection(embedding=torch.ones(2, 3), names=['cat', 'dog'])
    sample.set_metainfo(dict(camera=7, entities=dict(seen=[True, None])))
    small = resized(sample)
    assert small.gt_instances.embedding.tolist() == [[1.0] * 3]
    assert small.gt_instances.names == ['cat']
    assert small.camera == 7 and small.entities == dict(seen=[True, None])


def test_user_s_rule_comes_before_the_toolbox_s():
    """Classes have one here, and a shape that heads read."""
    register_field('gt_label')(lambda old, resizing: old + 1)
    register_field('pad_shape')(lambda old, resizing: (7, 7))
    assert resized(DataSample().set_gt_label(3)).gt_label.tolist() == [4]
    sample = detection()
    sample.set_metainfo(dict(pad_shape=SHAPE))
    small = resized(sample)
    assert (small.pad_shape, small.img_shape) == ((7, 7), (48, 64))
