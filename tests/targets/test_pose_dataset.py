"""Pipelines pack the keypoints that subnets' targets are made from."""

import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope

pytest.importorskip('mmpose')
from mmst.targets import prepare_dataset  # noqa: E402
from tests.engine.dense_tasks import TinyScenes  # noqa: E402


def keypoints(dataset, index):
    return dataset[index]['data_samples'].gt_instances.get(
        'transformed_keypoints'
    )


def test_inside_of_wrappers():
    init_default_scope('mmpose')
    scenes = [TinyScenes('pose') for _ in range(4)]
    wrapped = [ConcatDataset(scenes[:2]), RepeatDataset(scenes[2], 2)]
    for whole in wrapped:
        assert keypoints(whole, 0) is None
        prepare_dataset(whole)
        for index in (0, len(whole) - 1):
            assert keypoints(whole, index).shape == (1, 5, 2)
    # One that was not asked for stays as it is.
    assert keypoints(scenes[3], 0) is None


def test_nothing_to_tell_others():
    init_default_scope('mmseg')
    scenes = TinyScenes('segmentation')
    before = [vars(t).copy() for t in scenes.pipeline.transforms]
    prepare_dataset(scenes)
    prepare_dataset([1, 2])
    assert [vars(t) for t in scenes.pipeline.transforms] == before
