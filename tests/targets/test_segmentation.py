"""Segmentation samples against mmseg's own Resize and preprocessor."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

pytest.importorskip('mmseg')
from mmseg.datasets.transforms import PackSegInputs, Resize  # noqa: E402
from mmseg.models.data_preprocessor import SegDataPreProcessor  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402

from tests.targets.batches import shrunk as shrunk_by  # noqa: E402
from tests.targets.snapshot import assert_same, snapshot  # noqa: E402

HEAD = dict(type='FCNHead', in_channels=8, channels=8, num_classes=3)
MAPS = ['gt_seg_map', 'gt_edge_map', 'gt_depth_map']


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def annotations(shape, seed=0, maps=MAPS):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 19, shape).astype(np.uint8)
    labels[rng.random(shape) < 0.1] = 255
    made = dict(
        gt_seg_map=labels,
        gt_edge_map=(rng.random(shape) < 0.2).astype(np.uint8),
        gt_depth_map=rng.random(shape, np.float32) * 80,
    )
    return dict(
        img=rng.integers(0, 256, (*shape, 3), np.uint8),
        img_shape=shape,
        ori_shape=(200, 300),
        scale_factor=(0.4, 0.3),
        seg_fields=maps,
        **{name: made[name] for name in maps},
    )


def packed(results, **options):
    pack = PackSegInputs()
    results = [pack(item) for item in results]
    pre = SegDataPreProcessor([120.0] * 3, [60.0] * 3, pad_val=0.25, **options)
    return pre, pre(
        dict(
            inputs=[item['inputs'] for item in results],
            data_samples=[item['data_samples'] for item in results],
        ),
        True,
    )


def shrunk(data, size, pre, **heads):
    model = nn.Module()
    model.data_preprocessor = pre
    for name, head in heads.items():
        model.add_module(name, MODELS.build(dict(HEAD, **head)))
    return shrunk_by(data, size, model)


def mmseg_resized(results, shape):
    old = results['scale_factor']
    results = Resize(scale=(shape[1], shape[0]))(results)
    results['scale_factor'] = tuple(
        a * b for a, b in zip(old, results['scale_factor'])
    )
    return results


def assert_like_mmseg(small, expected):
    """Images to one grey level, maps exactly."""
    assert small['inputs'].shape == expected['inputs'].shape
    assert (small['inputs'] - expected['inputs']).abs().max() < 1.01 / 60
    for one, other in zip(small['data_samples'], expected['data_samples']):
        assert_same(snapshot(one), snapshot(other))


@pytest.mark.parametrize('size', [41, 48, 55, 68, 95, 110])
@pytest.mark.parametrize('divisor', [1, 32])
def test_like_resize(size, divisor):
    """Labels, edges and depths are cv2's nearest; the ignored stays so."""
    # Depths cannot be padded.
    maps = MAPS if divisor == 1 else MAPS[:2]
    scene = annotations((96, 128), maps=maps)
    pre, data = packed([copy.deepcopy(scene)], size_divisor=divisor)
    before = snapshot(data['data_samples'])
    small = shrunk(data, size, pre)
    _, expected = packed(
        [mmseg_resized(scene, (size, round(size * 4 / 3)))],
        size_divisor=divisor,
    )
    assert_like_mmseg(small, expected)
    assert small['data_samples'][0].gt_sem_seg.data.max() == 255
    assert_same(before, snapshot(data['data_samples']))


def test_two_images():
    shapes = (96, 128), (80, 100)
    pre, data = packed(
        [annotations(s, i, MAPS[:2]) for i, s in enumerate(shapes)],
        size_divisor=32,
        seg_pad_val=7,
    )
    small = shrunk(data, 48, pre)
    _, expected = packed(
        [
            mmseg_resized(annotations(s, i, MAPS[:2]), (s[0] // 2, s[1] // 2))
            for i, s in enumerate(shapes)
        ],
        size_divisor=32,
        seg_pad_val=7,
    )
    for one, other in zip(small['data_samples'], expected['data_samples']):
        assert_same(snapshot(one), snapshot(other))
    assert small['data_samples'][1].padding_size == (0, 14, 0, 24)


def test_fixed_size_is_the_main_batch_s():
    """The subnet's batch is not padded back to it, nor to any divisor."""
    pre, data = packed([annotations((90, 120))], size=(96, 128), seg_pad_val=7)
    sample = data['data_samples'][0]
    assert (sample.gt_sem_seg.data[:, 90:] == 7).all()
    small = shrunk(data, 49, pre)
    sample = small['data_samples'][0]
    assert small['inputs'].shape[-2:] == (49, 65)
    assert sample.gt_sem_seg.shape == sample.pad_shape == (49, 65)
    assert sample.img_shape == (46, 61)
    assert sample.padding_size == (0, 4, 0, 3)
    assert (sample.gt_sem_seg.data[:, 46:] == 7).all()


def test_only_what_there_is():
    results = annotations((96, 128), maps=MAPS[:1])
    del results['scale_factor']
    pre, data = packed([results], size_divisor=32)
    sample = shrunk(data, 48, pre)['data_samples'][0]
    assert sample.keys() == ['gt_sem_seg']
    assert 'scale_factor' not in sample
    assert sample.gt_sem_seg.data.dtype == torch.int64


DICE = dict(type='DiceLoss', ignore_index=0)
OHEM = dict(type='OhemCrossEntropy', ignore_label=0)


@pytest.mark.parametrize(
    'pad, heads, told',
    [
        (255, dict(decode_head=dict()), None),
        (0, dict(decode_head=dict(ignore_index=0)), None),
        (
            255,
            dict(decode_head=dict(ignore_index=0)),
            'decode_head.ignore_index=0',
        ),
        (
            0,
            dict(decode_head=dict(ignore_index=0), auxiliary_head=dict()),
            'auxiliary_head.ignore_index=255',
        ),
        (
            255,
            dict(decode_head=dict(loss_decode=[dict(DICE)])),
            'decode_head.loss_decode.0.ignore_index=0',
        ),
        (
            255,
            dict(decode_head=dict(loss_decode=dict(OHEM))),
            'decode_head.loss_decode.ignore_label=0',
        ),
    ],
)
def test_padding_has_to_be_ignored(pad, heads, told):
    """By each head and loss; where nothing is padded it need not be."""
    results = [annotations((96, 128), maps=MAPS[:1])]
    pre, data = packed(results, size_divisor=32, seg_pad_val=pad)
    assert shrunk(data, 96, pre, **heads)
    if told is None:
        assert shrunk(data, 48, pre, **heads)
        return
    with pytest.raises(ValueError) as error:
        shrunk(data, 48, pre, **heads)
    assert f'seg_pad_val={pad}' in str(error.value)
    assert f'ignore another label: {told}. Set' in str(error.value)


def test_depths_cannot_be_padded():
    pre, data = packed([annotations((96, 128))], size_divisor=32)
    with pytest.raises(ValueError, match='`gt_depth_map`: .*multiples of 32'):
        shrunk(data, 48, pre)
    pre, data = packed([annotations((96, 128))], size_divisor=16)
    small = shrunk(data, 48, pre)['data_samples'][0]
    assert small.gt_depth_map.shape == (48, 64)


def test_samples_without_maps():
    """mmseg gives them the shape None."""
    pre, data = packed([annotations((90, 120), maps=[])], size_divisor=32)
    assert data['data_samples'][0].pad_shape is None
    small = shrunk(data, 48, pre)['data_samples'][0]
    assert small.img_shape == (45, 60) and small.pad_shape is None
