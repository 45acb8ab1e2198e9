"""Segmentation samples against mmseg's own Resize and preprocessor."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

pytest.importorskip('mmseg')
from mmseg.datasets.transforms import PackSegInputs, Resize  # noqa: E402
from mmseg.models.data_preprocessor import SegDataPreProcessor  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402

from tests.targets import batches  # noqa: E402
from tests.targets.snapshot import assert_same, snapshot  # noqa: E402

MAPS = ['gt_seg_map', 'gt_edge_map', 'gt_depth_map']


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def annotations(shape, seed=0, maps=MAPS[:2]):
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


def packed(*results, **options):
    pre = SegDataPreProcessor([120.0] * 3, [60.0] * 3, pad_val=0.25, **options)
    return pre, batches.packed(results, PackSegInputs(), pre)


def shrunk(data, size, pre, **heads):
    head = dict(type='FCNHead', in_channels=8, channels=8, num_classes=3)
    parts = {k: MODELS.build({**head, **heads[k]}) for k in heads}
    return batches.shrunk(data, size, batches.make_model(pre, **parts))


@pytest.mark.parametrize(
    'shapes, size, options',
    [
        *(
            ([(96, 128)], n, dict(size_divisor=1))
            for n in (41, 48, 55, 68, 95, 110)
        ),
        *(([(96, 128)], n, dict(size_divisor=32)) for n in (41, 68, 110)),
        ([(96, 128), (80, 100)], 48, dict(size_divisor=32, seg_pad_val=7)),
    ],
)
def test_like_resize(shapes, size, options):
    """Images to one grey level; maps are cv2's nearest, the ignored too."""
    # Depths cannot be padded.
    maps = MAPS if options['size_divisor'] == 1 else MAPS[:2]
    scenes = [annotations(s, i, maps) for i, s in enumerate(shapes)]
    pre, data = packed(*map(dict, scenes), **options)
    before = snapshot(data['data_samples'])
    small = shrunk(data, size, pre)
    expected = [
        batches.resized(
            scene, tuple(round(n * size / 96) for n in shape), Resize
        )
        for scene, shape in zip(scenes, shapes)
    ]
    _, expected = packed(*expected, **options)
    assert small['inputs'].shape == expected['inputs'].shape
    if len(shapes) == 1:  # or else content is mixed with padding at its edge
        assert (small['inputs'] - expected['inputs']).abs().max() < 1.01 / 60
    found, expected = (snapshot(x['data_samples']) for x in (small, expected))
    assert_same(found, expected)
    assert small['data_samples'][0].gt_sem_seg.data.max() == 255
    assert_same(before, snapshot(data['data_samples']))


def test_fixed_size_is_the_main_batch_s():
    """The subnet's batch is not padded back to it, nor to any divisor."""
    pre, data = packed(annotations((90, 120)), size=(96, 128), seg_pad_val=7)
    sample = data['data_samples'][0]
    assert (sample.gt_sem_seg.data[:, 90:] == 7).all()
    small = shrunk(data, 49, pre)
    sample = small['data_samples'][0]
    assert small['inputs'].shape[-2:] == (49, 65)
    assert sample.gt_sem_seg.shape == sample.pad_shape == (49, 65)
    assert sample.img_shape == (46, 61)
    assert sample.padding_size == (0, 4, 0, 3)
    assert (sample.gt_sem_seg.data[:, 46:] == 7).all()


@pytest.mark.parametrize('maps, pad_shape', [(MAPS[:1], (64, 64)), ([], None)])
def test_only_what_there_is(maps, pad_shape):
    """mmseg gives samples without maps the shape None."""
    results = annotations((90, 120), maps=maps)
    del results['scale_factor']
    pre, data = packed(results, size_divisor=32)
    small = shrunk(data, 48, pre)['data_samples'][0]
    assert small.keys() == ['gt_sem_seg'] * len(maps)
    assert 'scale_factor' not in small
    assert small.img_shape == (45, 60) and small.pad_shape == pad_shape


IGNORE = dict(ignore_index=0)
DICE = dict(loss_decode=[dict(type='DiceLoss', ignore_index=0)])
OHEM = dict(loss_decode=dict(type='OhemCrossEntropy', ignore_label=0))


@pytest.mark.parametrize(
    'pad, heads, told',
    [
        (255, dict(decode_head={}), None),
        (0, dict(decode_head=IGNORE), None),
        (255, dict(decode_head=IGNORE), 'decode_head.ignore_index=0'),
        (
            0,
            dict(decode_head=IGNORE, auxiliary_head={}),
            'auxiliary_head.ignore_index=255',
        ),
        (
            255,
            dict(decode_head=DICE),
            'decode_head.loss_decode.0.ignore_index=0',
        ),
        (
            255,
            dict(decode_head=OHEM),
            'decode_head.loss_decode.ignore_label=0',
        ),
    ],
)
def test_padding_has_to_be_ignored(pad, heads, told):
    """By each head and loss; where nothing is padded it need not be."""
    scene = annotations((96, 128), maps=MAPS[:1])
    pre, data = packed(scene, size_divisor=32, seg_pad_val=pad)
    assert shrunk(data, 96, pre, **heads)
    if told is None:
        assert shrunk(data, 48, pre, **heads)
        return
    told = f'seg_pad_val={pad}, .* ignore another label: {told}. Set'
    with pytest.raises(ValueError, match=told):
        shrunk(data, 48, pre, **heads)


def test_depths_cannot_be_padded():
    scene = annotations((96, 128), maps=MAPS)
    pre, data = packed(dict(scene), size_divisor=32)
    with pytest.raises(ValueError, match='`gt_depth_map`: .*multiples of 32'):
        shrunk(data, 48, pre)
    pre, data = packed(scene, size_divisor=16)
    small = shrunk(data, 48, pre)['data_samples'][0]
    assert small.gt_depth_map.shape == (48, 64)
