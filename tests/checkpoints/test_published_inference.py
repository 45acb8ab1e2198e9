"""Class names, palettes and skeletons of a published file reach inference."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

from mmst.checkpoints import strip_checkpoint

CLASSES = ('wheat', 'weed', 'soil')
PALETTE = np.array([[0, 0, 0], [9, 9, 9], [200, 20, 20]], np.uint8)
#: Toolbox -> a config of it, what makes that fit, and the functions that
#: users call.
TOOLBOXES = dict(
    mmpretrain=(
        'resnet/resnet18_8xb32_in1k.py',
        {'head.num_classes': 3, 'head.topk': (1,)},
        *('get_model', 'ImageClassificationInferencer'),
    ),
    mmdet=(
        'retinanet/retinanet_r18_fpn_1x_coco.py',
        {'bbox_head.num_classes': 3, 'backbone.init_cfg': None},
        *('init_detector', 'DetInferencer'),
    ),
    mmseg=(
        'fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        {
            'pretrained': None,
            'decode_head.num_classes': 3,
            'auxiliary_head.num_classes': 3,
            'data_preprocessor.size': (64, 64),
        },
        *('init_model', 'MMSegInferencer'),
    ),
    mmpose=(
        'body_2d_keypoint/topdown_heatmap/coco/'
        'td-hm_res50_8xb64-210e_coco-256x192.py',
        {
            'backbone.depth': 18,
            'backbone.init_cfg': None,
            'head.in_channels': 512,
            'head.out_channels': 20,
        },
        *('init_model', 'MMPoseInferencer'),
    ),
)


@pytest.mark.parametrize(
    'scope',
    [
        'mmpose',  # the most of it: arrays in dicts
        *(
            pytest.param(scope, marks=pytest.mark.slow)
            for scope in ('mmpretrain', 'mmdet', 'mmseg')
        ),
    ],
)
def test_toolboxes_know_what_was_trained(scope, tmp_path, monkeypatch):
    pytest.importorskip(scope)
    path, changes, init, inferencer = TOOLBOXES[scope]
    apis = import_module(f'{scope}.apis')
    init_default_scope(scope)
    cfg = get_config(f'{scope}::{path}')
    cfg.merge_from_dict({f'model.{k}': v for k, v in changes.items()})
    cfg.dump(str(tmp_path / 'config.py'))
    meta = dict(classes=CLASSES, palette=PALETTE)
    if scope == 'mmpose':  # other joints than those of the config's data
        utils = import_module('mmpose.datasets.datasets.utils')
        animals = 'configs/_base_/datasets/animalpose.py'
        meta = utils.parse_pose_metainfo(dict(from_file=animals))
    run = dict(
        state_dict=MODELS.build(cfg.model).state_dict(),
        meta=dict(dataset_meta=meta),
    )
    torch.save(strip_checkpoint(run), tmp_path / 'published.pth')

    monkeypatch.chdir(tmp_path)
    files = 'config.py', 'published.pth'
    image = np.full((64, 64, 3), 100, np.uint8)
    model = getattr(apis, init)(*files, device='cpu')
    options = dict(det_model='whole_image') if scope == 'mmpose' else {}
    inferencer = getattr(apis, inferencer)(*files, device='cpu', **options)
    if scope == 'mmpose':
        assert model.dataset_meta.keys() == meta.keys()
        for name, value in meta.items():
            np.testing.assert_array_equal(model.dataset_meta[name], value)
        (result,) = inferencer(image, out_dir='out')
        assert len(result['predictions'][0][0]['keypoints']) == 20
    elif scope == 'mmpretrain':
        (result,) = inferencer(image, show_dir='out')
        assert result['pred_class'] in CLASSES
    elif scope == 'mmdet':
        assert tuple(model.dataset_meta['classes']) == CLASSES
        result = inferencer(image, out_dir='out', pred_score_thr=0.0)
        assert max(result['predictions'][0]['labels']) <= 2
        shown = inferencer.visualizer.dataset_meta['classes']
        assert tuple(shown) == CLASSES
    else:
        assert tuple(model.dataset_meta['classes']) == CLASSES
        assert model.dataset_meta['palette'] == PALETTE.tolist()
        inferencer(image, out_dir='out')
    assert list(Path('out').rglob('*.*g'))
