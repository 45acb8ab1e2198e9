"""Class names, palettes and skeletons of a published file reach inference."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmst.checkpoints import strip_checkpoint

CLASSES = ('wheat', 'weed', 'soil')
PALETTE = np.array([[0, 0, 0], [9, 9, 9], [200, 20, 20]], np.uint8)
STOCK = dict(
    mmpretrain='resnet/resnet18_8xb32_in1k.py',
    mmdet='retinanet/retinanet_r18_fpn_1x_coco.py',
    mmseg='fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py',
    mmpose='body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_res50_8xb64-210e_coco-256x192.py',
)


def make_meta(scope: str) -> dict:
    """Data of the kind that the toolbox's data sets save."""
    if scope != 'mmpose':
        return dict(classes=CLASSES, palette=PALETTE)
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    joints, rest = ['nose', 'tail'], dict(type='upper', swap='')
    return parse_pose_metainfo(
        dict(
            dataset_name='fish',
            keypoint_info={
                i: dict(name=name, id=i, color=[9, 9, i], **rest)
                for i, name in enumerate(joints)
            },
            skeleton_info={0: dict(link=joints, id=0, color=[0, 255, 0])},
            joint_weights=[1.0, 1.0],
            sigmas=[0.1, 0.1],
        )
    )


@pytest.fixture(
    params=[
        'mmpose',  # the most of it: arrays in dicts
        *(
            pytest.param(scope, marks=pytest.mark.slow)
            for scope in ('mmpretrain', 'mmdet', 'mmseg')
        ),
    ]
)
def published(request, tmp_path, monkeypatch):
    """A toolbox, a config of it and a published file."""
    scope = request.param
    pytest.importorskip(scope)
    models = import_module(f'{scope}.models')
    init_default_scope(scope)
    folder = Path(models.__file__).parents[1] / '.mim' / 'configs'
    cfg = Config.fromfile(folder / STOCK[scope])
    if scope == 'mmpretrain':
        cfg.model.head.update(num_classes=3, topk=(1,))
    elif scope == 'mmdet':
        cfg.model.bbox_head.num_classes = 3
        cfg.model.backbone.init_cfg = None
    elif scope == 'mmseg':
        cfg.model.pretrained = None
        cfg.model.decode_head.num_classes = 3
        cfg.model.auxiliary_head.num_classes = 3
        cfg.model.data_preprocessor.size = (64, 64)
    else:
        cfg.model.backbone.update(depth=18, init_cfg=None)
        cfg.model.head.update(in_channels=512, out_channels=2)
    cfg.dump(str(tmp_path / 'config.py'))
    run = dict(
        state_dict=MODELS.build(cfg.model).state_dict(),
        meta=dict(dataset_meta=make_meta(scope)),
    )
    torch.save(strip_checkpoint(run), tmp_path / 'published.pth')
    monkeypatch.chdir(tmp_path)
    return scope, 'config.py', 'published.pth'


def build_inferencer(scope: str, config: str, weights: str):
    """The toolbox's class that users call with images."""
    if scope == 'mmpose':
        from mmpose.apis import MMPoseInferencer

        options = dict(pose2d_weights=weights, det_model='whole_image')
        return MMPoseInferencer(config, device='cpu', **options)
    module, name = INFERENCERS[scope]
    kind = getattr(import_module(module), name)
    return kind(config, weights, device='cpu')


INFERENCERS = dict(
    mmpretrain=('mmpretrain', 'ImageClassificationInferencer'),
    mmdet=('mmdet.apis', 'DetInferencer'),
    mmseg=('mmseg.apis', 'MMSegInferencer'),
)
INIT = dict(
    mmpretrain='get_model',
    mmdet='init_detector',
    mmseg='init_model',
    mmpose='init_model',
)


def test_toolboxes_know_what_was_trained(published):
    scope, config, weights = published
    image = np.full((64, 64, 3), 100, np.uint8)
    apis = import_module(f'{scope}.apis')
    model = getattr(apis, INIT[scope])(config, weights, device='cpu')
    inferencer = build_inferencer(scope, config, weights)
    if scope == 'mmpose':
        assert model.dataset_meta['keypoint_id2name'] == {0: 'nose', 1: 'tail'}
        assert model.dataset_meta['skeleton_links'] == [[0, 1]]
        colors = model.dataset_meta['keypoint_colors']
        assert colors == [[9, 9, 0], [9, 9, 1]]
        assert model.dataset_meta['sigmas'] == pytest.approx([0.1, 0.1])
        (result,) = inferencer(image, out_dir='out')
        assert len(result['predictions'][0][0]['keypoints']) == 2
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
