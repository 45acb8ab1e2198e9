"""Pose samples against mmpose's codecs and its pipeline at smaller sizes."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose, RandomApply
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from torch.utils.data import Dataset as TorchDataset

pytest.importorskip('mmpose')
from mmpose.registry import KEYPOINT_CODECS, MODELS  # noqa: E402

from mmst.subnets import resize_inputs  # noqa: E402
from mmst.targets import check_reproduced, register_field  # noqa: E402
from mmst.targets.pose import resize_codec  # noqa: E402
from tests.targets.batches import identity, shrunk  # noqa: E402
from tests.targets.people import (  # noqa: E402
    CODECS,
    HEATMAPS,
    JOINTS,
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


def read_targets(sample):
    parts = ('gt_instance_labels', 'gt_fields')
    kept = [sample.get(part) for part in parts if part in sample]
    return {name: value for part in kept for name, value in part.items()}


@pytest.mark.parametrize('name', HEATMAPS + ['regression'])
@pytest.mark.parametrize('size, divisor', [(55, 32), (83, 1), (127, 64)])
def test_targets_are_the_codec_s(name, size, divisor):
    """Bit for bit what it encodes from the shrunk keypoints at this size."""
    model = model_for(head_cfg(name), divisor)
    data = packed(model, pipeline(name))
    before = snapshot(data['data_samples'])
    small = shrunk(data, size, model)
    height, width = small['inputs'].shape[-2:]
    scale = (size / 128, size * 2 / 256)
    if divisor == 1 and name == 'regression':
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
        targets = read_targets(new)
        assert len(targets) == 2
        for target, value in targets.items():
            np.testing.assert_array_equal(value, encoded[target])
            assert value.dtype == torch.float32
        assert new.input_size == (width, height)
        assert new.batch_input_shape == new.pad_shape == (height, width)
    assert_same(before, snapshot(data['data_samples']))


@pytest.mark.parametrize('name', HEATMAPS + ['regression'])
def test_targets_are_reproduced(name):
    model, people = model_for(head_cfg(name)), People(pipeline(name))
    data = packed(model, people.pipeline)
    check_reproduced(data['data_samples'], identity(data, model, people))


@pytest.mark.parametrize('size', [29, 55, 83, 111])
def test_keypoints_stay_on_what_they_mark(size):
    """A spot in the image moves as its keypoint does, to 0.02 px."""
    model = model_for(head_cfg('msra'))
    data = packed(model, pipeline('msra'), seeds=[0])
    rows, columns = torch.arange(256.0)[:, None], torch.arange(128.0)
    (keypoints,) = data['data_samples'][0].gt_instances.transformed_keypoints
    for joint in (0, 2, 3):
        x, y = keypoints[joint]
        spot = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / 6**2)
        images = spot.expand(1, 3, -1, -1)
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
    """Also from sizes that no stride divides, down to one cell."""
    model = model_for(dict(head_cfg('msra'), **head))
    net = MODELS.build(dict(net, type='ResNet'))
    data = packed(model, pipeline('msra'))
    data['inputs'] = resize_inputs(data['inputs'], 110)
    for size in (7, 33, 55, 82):
        small = shrunk(data, size, model)
        heatmaps = model.head(net(small['inputs']))
        for sample, heatmap in zip(small['data_samples'], heatmaps):
            assert sample.gt_fields.heatmaps.shape == heatmap.shape


@pytest.mark.parametrize('name', CODECS)
def test_codec_at_another_size(name):
    """All it encodes is what a codec built for this size encodes."""
    codec, expected = (
        KEYPOINT_CODECS.build(codec_cfg(name, size))
        for size in ((128, 256), (64, 96))
    )
    keypoints = np.random.default_rng(0).uniform(0, 96, (1, JOINTS, 2))
    joints = keypoints.astype(np.float32), np.ones((1, JOINTS), np.float32)
    before = codec.encode(*joints)
    small = resize_codec(codec, (64, 96)).encode(*joints)
    assert_same(snapshot(small), snapshot(expected.encode(*joints)))
    assert_same(snapshot(before), snapshot(codec.encode(*joints)))


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


class Own(TorchDataset):
    """A data set of a user's own around another."""

    def __init__(self, dataset):
        self.dataset = dataset


def nest(people):
    transforms = people.pipeline.transforms
    transforms[4:5] = [RandomApply(transforms[4:5], prob=1.0)]
    transforms[:4] = [Compose(transforms[:4])]
    return people


WRAPPED = {
    'alone': lambda people: people,
    'concat': lambda people: ConcatDataset([people, people]),
    'repeat': lambda people: RepeatDataset(people, 2),
    'own': lambda people: Own(Own(people)),
    'nested': nest,
}


@pytest.mark.parametrize('wrap', WRAPPED)
def test_encoder_is_the_pipeline_s(wrap):
    """Not the head's decoder, wherever the data set has its pipeline."""
    model = model_for(head_cfg('udp'))
    people = People(pipeline('msra'))
    people.pipeline.transforms[4].encoder.sigma = 3  # as a hook may do
    dataset = WRAPPED[wrap](people)
    data = packed(model, people.pipeline)
    for new in shrunk(data, 64, model, dataset)['data_samples']:
        encoded = encode(dict(codec_cfg('msra', (64, 128)), sigma=3), new)
        np.testing.assert_array_equal(
            new.gt_fields.heatmaps, encoded['heatmaps']
        )


def test_encoder_of_a_head_without_a_codec():
    model = model_for(dict(head_cfg('msra'), decoder=None))
    people = People(pipeline('msra'))
    small = shrunk(packed(model, people.pipeline), 83, model, people)
    assert small['inputs'].shape[-2:] == (160, 96)
    assert small['data_samples'][0].gt_fields.heatmaps.shape == (5, 40, 24)


def test_a_user_s_rule_of_a_target_comes_first():
    model = model_for(dict(head_cfg('msra'), decoder=codec_cfg('regression')))
    data = packed(model, pipeline('msra'))

    @register_field('gt_fields.heatmaps')
    def shrink(heatmaps, resizing):
        return heatmaps[:, ::2, ::2]

    (small, _) = shrunk(data, 64, model)['data_samples']
    heatmaps = data['data_samples'][0].gt_fields.heatmaps
    assert torch.equal(small.gt_fields.heatmaps, heatmaps[:, ::2, ::2])


def test_codec_of_a_wrapped_head():
    """VisPredictHead, of mmpose's td-hm-vis, has its codec in a head."""
    model = model_for(dict(type='VisPredictHead', pose_cfg=head_cfg('msra')))
    data = packed(model, pipeline('msra'))
    plain = shrunk(data, 83, model_for(head_cfg('msra')))
    small = shrunk(data, 83, model)
    assert small['inputs'].shape == plain['inputs'].shape
    for one, other in zip(small['data_samples'], plain['data_samples']):
        assert torch.equal(one.gt_fields.heatmaps, other.gt_fields.heatmaps)
