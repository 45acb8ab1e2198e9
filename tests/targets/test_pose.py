"""Pose samples against mmpose's codecs and its pipeline at smaller sizes."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose, RandomApply
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch.utils.data import Subset

pytest.importorskip('mmpose')
from mmpose.registry import KEYPOINT_CODECS, MODELS  # noqa: E402

from mmst.subnets import resize_inputs  # noqa: E402
from mmst.targets import check_reproduced  # noqa: E402
from tests.targets.batches import identity, shrunk  # noqa: E402
from tests.targets.people import (  # noqa: E402
    CODECS,
    HEATMAPS,
    People,
    codec_cfg,
    head_cfg,
    model_for,
    packed,
    person,
    pipeline,
)
from tests.targets.snapshot import assert_same, snapshot  # noqa: E402


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpose')


def encode(codec, sample):
    """What a codec says of a sample's keypoints, by mmpose alone."""
    part = sample.gt_instances
    return KEYPOINT_CODECS.build(codec).encode(
        part.transformed_keypoints, part.keypoints_visible
    )


@pytest.mark.parametrize('name', CODECS)
@pytest.mark.parametrize('size, divisor', [(55, 32), (83, 1), (127, 64)])
def test_targets_are_the_codec_s(name, size, divisor):
    """Bit for bit what it encodes from the shrunk keypoints at this size."""
    model, people = model_for(head_cfg(name), divisor), People(pipeline(name))
    data = packed(model, people.pipeline)
    before = snapshot(data['data_samples'])
    small = shrunk(data, size, model)
    height, width = small['inputs'].shape[-2:]
    scale = (size / 128, size * 2 / 256)
    if divisor == 1 and name not in HEATMAPS:
        assert (height, width) == (166, 83)
    elif divisor == 1:  # the nearest multiples of 32
        assert (height, width) == (160, 96)
        scale = (96 / 128, 160 / 256)
    for old, new in zip(data['data_samples'], small['data_samples']):
        expected = (old.gt_instances.transformed_keypoints + 0.5) * scale - 0.5
        np.testing.assert_allclose(
            new.gt_instances.transformed_keypoints, expected, atol=1e-4
        )
        encoded = encode(codec_cfg(name, (width, height)), new)
        assert (encoded['keypoint_weights'] == 0).any()
        fields = new.get('gt_fields', InstanceData())
        targets = [*new.gt_instance_labels.items(), *fields.items()]
        assert len(targets) >= 2
        for target, value in targets:
            np.testing.assert_array_equal(value, encoded[target])
            assert value.dtype == torch.float32
        assert new.input_size == (width, height)
        assert new.batch_input_shape == new.pad_shape == (height, width)
    assert_same(before, snapshot(data['data_samples']))
    check_reproduced(data['data_samples'], identity(data, model, people))


@pytest.mark.parametrize('size', [29, 55, 83, 111])
def test_keypoints_stay_on_what_they_mark(size):
    """A spot in the image moves as its keypoint does, to 0.02 px."""
    model = model_for(head_cfg('msra'))
    data = packed(model, pipeline('msra'))
    rows, columns = torch.arange(256.0)[:, None], torch.arange(128.0)
    (keypoints,) = data['data_samples'][0].gt_instances.transformed_keypoints
    for joint in (0, 2, 3):
        x, y = keypoints[joint]
        spot = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / 6**2)
        images = spot.expand(2, 3, -1, -1)
        small = shrunk(dict(data, inputs=images), size, model)
        light = small['inputs'][0, 0]
        centre = [
            (torch.arange(float(n)) * light.sum(dim)).sum() / light.sum()
            for dim, n in enumerate(reversed(light.shape))
        ]
        (moved,) = small['data_samples'][0].gt_instances.transformed_keypoints
        np.testing.assert_allclose(centre, moved[joint], atol=0.02)


@pytest.mark.parametrize(
    'net, head',
    [
        (dict(depth=18, base_channels=8), {}),
        # 16 px a cell, two times doubled: 4 px a cell.
        (
            dict(depth=50, base_channels=32, out_indices=(2,)),
            dict(
                in_channels=512,
                deconv_out_channels=(8, 8),
                deconv_kernel_sizes=(4, 4),
            ),
        ),
    ],
)
def test_heatmaps_are_as_large_as_the_head_s(net, head):
    """Sizes that no stride divides are among them, down to one cell."""
    model = model_for(dict(head_cfg('msra'), **head))
    net = MODELS.build(dict(net, type='ResNet'))
    data = packed(model, pipeline('msra'))
    data['inputs'] = resize_inputs(data['inputs'], 110)
    for size in (7, 33, 55, 82):
        small = shrunk(data, size, model)
        heatmaps = model.head(net(small['inputs']))
        for sample, heatmap in zip(small['data_samples'], heatmaps):
            assert sample.gt_fields.heatmaps.shape == heatmap.shape


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('name', ['msra', 'regression'])
def test_weights_are_the_pipeline_s(name, weighted):
    """Factors of the data set stay, and switch joints off.

    The third joint is so far outside that the main heat-map has none of it;
    the small one has. With factors nothing tells its own, so it stays off.
    """
    model = model_for(head_cfg(name))
    run = pipeline(name, use_dataset_keypoint_weights=weighted)
    del run.transforms[1:3]  # no random flip, no random box
    item = person()
    item['keypoints'][0] = [(99, 99), (90, 90), (-10, 99), (80, 99), (900, 9)]
    item['keypoints_visible'][:] = 1
    item['dataset_keypoint_weights'][:] = 1.5, 0, 1, 0.5, 1
    item = run(item)
    sample = item['data_samples']
    data = dict(inputs=item['inputs'][None].float(), data_samples=[sample])
    (small,) = shrunk(data, 64, model)['data_samples']
    weights = encode(codec_cfg(name, (64, 128)), small)['keypoint_weights']
    is_seen = name == 'msra'
    assert weights.tolist() == [[1, 1, is_seen, 1, 0]]
    if weighted:
        weights = [[1.5, 0, 0, 0.5, 0]]
    new = small.gt_instance_labels.keypoint_weights
    np.testing.assert_array_equal(new, weights)


def nest(people):
    transforms = people.pipeline.transforms
    transforms[4:5] = [RandomApply(transforms[4:5], prob=1.0)]
    transforms[:4] = [Compose(transforms[:4])]
    return people


WRAPPED = {
    'alone': lambda people: people,
    'concat': lambda people: ConcatDataset([people, people]),
    'repeat': lambda people: Subset(RepeatDataset(people, 2), [0, 1]),
    'nested': nest,
}


@pytest.mark.parametrize('wrap', WRAPPED)
def test_encoder_is_the_pipeline_s(wrap):
    """Not the head's decoder, wherever the data set has its pipeline."""
    people = People(pipeline('msra'))
    people.pipeline.transforms[4].encoder.sigma = 3  # as a hook may do
    dataset = WRAPPED[wrap](people)
    for decoder in (codec_cfg('udp'), None):
        model = model_for(dict(head_cfg('msra'), decoder=decoder))
        data = packed(model, people.pipeline)
        for new in shrunk(data, 83, model, dataset)['data_samples']:
            encoded = encode(dict(codec_cfg('msra', (96, 160)), sigma=3), new)
            np.testing.assert_array_equal(
                new.gt_fields.heatmaps, encoded['heatmaps']
            )


def test_codec_of_a_wrapped_head():
    """VisPredictHead, of mmpose's td-hm-vis, has its codec in a head."""
    plain = head_cfg('msra')
    wrapped = dict(type='VisPredictHead', pose_cfg=plain)
    data = packed(model_for(plain), pipeline('msra'))
    one, other = (shrunk(data, 83, model_for(x)) for x in (wrapped, plain))
    assert_same(snapshot(one), snapshot(other))
