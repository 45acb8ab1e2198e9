"""Detection samples against mmdet's own Resize, filter and preprocessor."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
from mmdet.datasets.transforms import FilterAnnotations, PackDetInputs, Resize  # noqa: E402
from mmdet.models.data_preprocessors import DetDataPreprocessor  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmdet.structures.bbox import HorizontalBoxes  # noqa: E402
from mmdet.structures.mask import BitmapMasks, PolygonMasks  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.structures import InstanceData, PixelData  # noqa: E402

from mmst.targets import register_field  # noqa: E402
from tests.targets import batches  # noqa: E402
from tests.targets.snapshot import assert_same, snapshot  # noqa: E402

MEAN, STD = [120.0] * 3, [60.0] * 3
# Widths at half size: 15, 0.95, 1 and 1.05 px; the last one is ignored.
BOXES = [
    [4, 6, 34, 40],
    [50, 10, 51.9, 30],
    [60, 10, 62, 30],
    [70.5, 12, 72.6, 31],
    [20, 44, 60, 80],
]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


def annotations(shape, seed=0, masks=BitmapMasks, boxes=BOXES):
    """An image with all kinds of annotations, as mmdet's loaders give it."""
    rng = np.random.default_rng(seed)
    height, width = shape
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    if masks is BitmapMasks:
        shapes = rng.integers(0, 2, (len(boxes), height, width), np.uint8)
    else:
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].astype(np.float64)
        shapes = [[c] for c in corners]
    return dict(
        img=rng.integers(0, 256, (height, width, 3), np.uint8),
        img_shape=shape,
        ori_shape=(200, 300),
        scale_factor=(0.4, 0.3),
        img_id=seed,
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.arange(len(boxes)) >= 4,
        gt_masks=masks(shapes, height, width),
        gt_seg_map=rng.integers(0, 5, shape).astype(np.uint8),
    )


def preprocessor(**options):
    return DetDataPreprocessor(
        MEAN,
        STD,
        pad_size_divisor=32,
        pad_value=0.25,
        pad_mask=True,
        pad_seg=True,
        **options,
    )


def packed(pre, *results):
    return batches.packed(results, PackDetInputs(), pre)


def shrunk(data, size, pre, **parts):
    return batches.shrunk(data, size, batches.make_model(pre, **parts))


def mmdet_resized(results, shape):
    results = batches.resized(results, shape, Resize)
    return FilterAnnotations(keep_empty=False)(results)


def assert_like_mmdet(small, expected, atol):
    """Images to one grey level, what is packed to ``atol``."""
    assert small['inputs'].shape == expected['inputs'].shape
    assert (small['inputs'] - expected['inputs']).abs().max() < 1.01 / 60
    for one, other in zip(small['data_samples'], expected['data_samples']):
        # mmdet does not pad these, so an image that fills its batch does not
        # tell whether they were.
        masks = one.ignored_instances.masks
        other.ignored_instances.masks = other.ignored_instances.masks.pad(
            (masks.height, masks.width)
        )
        assert_same(snapshot(one), snapshot(other), atol)


@pytest.mark.parametrize('masks', [BitmapMasks, PolygonMasks])
@pytest.mark.parametrize('to_tensor', [True, False])
def test_like_resize_and_filter(masks, to_tensor):
    """Exactly, boxes to 1e-4 px, where every side halves to whole pixels."""
    pre = preprocessor(boxtype2tensor=to_tensor)
    shapes = (96, 128), (80, 100)
    scenes = [annotations(s, i, masks) for i, s in enumerate(shapes)]
    data = packed(pre, *map(dict, scenes))
    before = snapshot(data['data_samples'])
    small = shrunk(data, 48, pre)
    halves = [(height // 2, width // 2) for height, width in shapes]
    expected = packed(pre, *map(mmdet_resized, scenes, halves))
    assert small['inputs'].shape == (2, 3, 64, 64)
    # Between two images' content and the padding pixels are mixed.
    for inputs in (small['inputs'][1], expected['inputs'][1]):
        inputs[:, 39:41], inputs[:, :, 49:51] = 0.25, 0.25
    assert_like_mmdet(small, expected, 1e-4)
    kept = small['data_samples'][0]
    assert kept.gt_instances.labels.tolist() == [0, 3]
    assert kept.ignored_instances.labels.tolist() == [4]
    assert (kept.img_shape, kept.pad_shape) == ((48, 64), (64, 64))
    assert small['data_samples'][1].pad_shape == (64, 64)
    boxes = kept.gt_instances.bboxes
    boxes = boxes if to_tensor else boxes.tensor
    assert boxes[0].tolist() == [2, 3, 17, 20]
    assert_same(before, snapshot(data['data_samples']))


@pytest.mark.parametrize('size', [41, 55, 63, 95, 110])
def test_like_resize_at_any_size(size):
    """One image that fills its batch: maps and masks are cv2's, exactly."""
    pre, scene = preprocessor(), annotations((96, 128))
    small = shrunk(packed(pre, dict(scene)), size, pre)
    expected = mmdet_resized(scene, (size, round(size * 4 / 3)))
    assert_like_mmdet(small, packed(pre, expected), 1e-4)


def test_smaller_images_in_a_batch_stay_where_they_are():
    """Their own shape is rounded, their boxes are within half a pixel.

    Masks and maps that the preprocessor leaves unpadded are mmdet's Resize's.
    """
    shapes = (96, 128), (67, 93)
    expected = mmdet_resized(annotations(shapes[1], 1), (43, 59))
    unpadding = DetDataPreprocessor(MEAN, STD, pad_size_divisor=32)
    padded, alone = (
        shrunk(packed(pre, *map(annotations, shapes, (0, 1))), 61, pre)
        for pre in (preprocessor(), unpadding)
    )
    padded, alone = (small['data_samples'][1] for small in (padded, alone))
    assert padded.img_shape == (43, 59) and padded.pad_shape == (64, 64)
    torch.testing.assert_close(
        padded.gt_instances.bboxes,
        expected['gt_bboxes'].tensor[:4],
        rtol=0,
        atol=0.5,
    )
    # Labels of the image stay in it, the padding is ignored.
    label_map = padded.gt_sem_seg.sem_seg[0]
    assert label_map[:43, :59].max() < 5
    assert (label_map[43:] == 255).all() and (label_map[:, 59:] == 255).all()
    masks = padded.gt_instances.masks.masks
    assert not masks[:, 43:].any() and not masks[:, :, 59:].any()
    expected = packed(unpadding, expected)['data_samples'][0]
    assert torch.equal(alone.gt_sem_seg.sem_seg, expected.gt_sem_seg.sem_seg)
    for part in ('gt_instances', 'ignored_instances'):
        masks = (snapshot(x.get(part).masks) for x in (alone, expected))
        assert_same(*masks)


@pytest.mark.parametrize('masks', [BitmapMasks, PolygonMasks])
def test_largest_stays_where_none_would(masks):
    """With its label and mask, in that image alone; no ignored one does."""
    tiny = [[1, 1, 2.5, 20], [1, 1, 2.5, 40], [60, 10, 61.5, 12]]
    pre = preprocessor()
    scenes = [
        annotations((96, 128), masks=masks, boxes=boxes)
        for boxes in (tiny, BOXES, tiny, [])
    ]
    scenes[2]['gt_ignore_flags'][:] = True
    small = shrunk(packed(pre, *scenes), 48, pre)
    one, other, crowd, empty = small['data_samples']
    left = one.gt_instances
    assert left.bboxes.tolist() == [[0.5, 0.5, 1.25, 20]]
    assert left.labels.tolist() == [1] and len(left.masks) == 1
    assert other.gt_instances.labels.tolist() == [0, 3]
    assert len(crowd.gt_instances) == len(crowd.ignored_instances) == 0
    none = empty.gt_instances
    assert none.bboxes.shape == (0, 4) and len(none) == len(none.masks) == 0
    assert (none.masks.height, none.masks.width) == (64, 64)


def test_proposals_and_panoptic_maps():
    """Proposals all stay; panoptic ids are beyond what float32 can hold."""
    pre = preprocessor()
    data = packed(pre, annotations((96, 128)))
    sample = data['data_samples'][0]
    boxes = torch.tensor([[4.0, 6.0, 34.0, 40.0], [8.0, 8.0, 9.0, 9.0]])
    sample.proposals = InstanceData(bboxes=boxes, scores=torch.ones(2))
    ids = torch.arange(96 * 128).reshape(1, 96, 128) + 2**24
    sample.gt_panoptic_seg = PixelData(pan_seg=ids)
    small = shrunk(data, 48, pre)['data_samples'][0]
    assert torch.equal(small.proposals.bboxes, boxes / 2)
    assert torch.equal(sample.proposals.bboxes, boxes)
    assert torch.equal(small.gt_panoptic_seg.pan_seg[:, :48], ids[:, ::2, ::2])


def test_batch_is_not_padded_back_to_a_fixed_size():
    fixed = dict(type='BatchFixedSizePad', size=(160, 160))
    pre = preprocessor(
        batch_augments=[dict(fixed, pad_mask=True, pad_seg=True)]
    )
    data = packed(pre, annotations((96, 128)))
    assert data['inputs'].shape[-2:] == (160, 160)
    small = shrunk(data, 80, pre)
    sample = small['data_samples'][0]
    assert small['inputs'].shape[-2:] == (96, 96)
    assert sample.batch_input_shape == (96, 96)
    # The main one's is that of the whole batch.
    assert (sample.img_shape, sample.pad_shape) == ((48, 64), (80, 80))
    assert sample.gt_instances.masks.masks.shape == (2, 96, 96)
    assert sample.gt_sem_seg.sem_seg.shape == (1, 96, 96)


def test_a_map_of_another_size_is_refused():
    pre = preprocessor()
    data = packed(pre, annotations((96, 128)))
    other = PixelData(sem_seg=torch.zeros(1, 12, 16))
    data['data_samples'][0].gt_sem_seg = other
    told = r'maps of \(12, 16\) .*, \(96, 128\), nor as the batch, \(96, 128\)'
    with pytest.raises(ValueError, match=told):
        shrunk(data, 48, pre)


def boxes_only(boxes, **more):
    """A batch of one image with these boxes."""
    sample = DetDataSample(
        metainfo=dict(img_shape=(96, 128)),
        gt_instances=InstanceData(
            bboxes=boxes, labels=torch.arange(len(boxes)), **more
        ),
    )
    return dict(inputs=torch.zeros(1, 3, 96, 128), data_samples=[sample])


class CentreBoxes(HorizontalBoxes):
    """Boxes (x, y, width, height) around their centre."""

    widths = property(lambda self: self.tensor[..., 2])
    heights = property(lambda self: self.tensor[..., 3])
    areas = property(lambda self: self.tensor[..., 2:].prod(-1))


CENTRES = torch.tensor([[60.0, 50, 30, 20], [4, 4, 1.5, 9], [9, 9, 40, 40]])


def test_boxes_that_are_no_corners():
    """By the interface of their type; as a tensor they are refused."""
    data = boxes_only(CentreBoxes(CENTRES))
    small = shrunk(data, 48, preprocessor())['data_samples'][0]
    assert small.gt_instances.labels.tolist() == [0, 2]
    assert type(small.gt_instances.bboxes) is CentreBoxes
    assert torch.equal(small.gt_instances.bboxes.tensor, CENTRES[[0, 2]] / 2)
    for boxes, error, told in (
        (CENTRES, ValueError, r'`bboxes` .* in \[60.*'),
        (torch.zeros(2, 5), TypeError, r'\(2, 5\) are not .*'),
    ):
        with pytest.raises(error, match=told + 'boxtype2tensor=False'):
            shrunk(boxes_only(boxes), 48, preprocessor())


@pytest.mark.parametrize('boxes', [CENTRES, torch.rand(3, 5)])
def test_boxes_with_a_rule_of_the_user_s_all_stay(boxes):
    """mmst cannot tell which of them are too small."""
    register_field('bboxes')(lambda old, resizing: old / 2)
    small = shrunk(boxes_only(boxes), 48, preprocessor())['data_samples'][0]
    assert torch.equal(small.gt_instances.bboxes, boxes / 2)


@pytest.mark.parametrize('box_type', [torch.as_tensor, HorizontalBoxes])
def test_boxes_that_were_small_before_stay(box_type):
    """Only what shrinking made small goes."""
    boxes = torch.tensor(
        [[9.0, 9, 10, 30], [9, 9, 10.5, 30], [9, 9, 9, 9], [9, 9, 30, 30]]
    )
    data = boxes_only(box_type(boxes), ids=list('abcd'))
    small = shrunk(data, 48, preprocessor())['data_samples'][0].gt_instances
    assert small.labels.tolist() == [0, 2, 3] and small.ids == ['a', 'c', 'd']
    # The largest of those that shrank stays beside them.
    data = boxes_only(box_type(boxes[:3]))
    small = shrunk(data, 48, preprocessor())['data_samples'][0].gt_instances
    assert small.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize('pad', [255, 0])
def test_padding_of_maps_has_to_be_ignored(pad):
    """By the semantic head; other losses do not see the maps."""
    pre = preprocessor(seg_pad_value=pad)
    data = packed(pre, annotations((96, 128)))
    entropy = dict(type='CrossEntropyLoss')
    head = dict(
        type='PanopticFPNHead',
        num_things_classes=3,
        num_stuff_classes=2,
        in_channels=8,
        inner_channels=32,
        loss_seg=dict(entropy, ignore_index=255),
    )
    parts = dict(loss_cls=entropy, semantic_head=head)
    parts = {name: MODELS.build(cfg) for name, cfg in parts.items()}
    if pad != 255:
        told = 'seg_pad_value=0, .* semantic_head.loss_seg.ignore_index=255. S'
        with pytest.raises(ValueError, match=told):
            shrunk(data, 48, pre, **parts)
        del data['data_samples'][0].gt_sem_seg
    assert shrunk(data, 48, pre, **parts)
