"""Stock configs that mmst does not ship, with the documented lines alone."""

import math
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import load_run, logged
from tests.docs.blocks import python_blocks

ROOT = Path(__file__).parents[2]
SPACE = 'space=[1, 2, 4, 1]'
LOAD = dict(type='LoadImageFromFile')
DET_PIPELINE = [
    LOAD,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(96, 72), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
SEG_PIPELINE = [
    LOAD,
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(128, 64)),
    dict(type='PackSegInputs'),
]


class Stock(NamedTuple):
    """A toolbox's config: where it is, and the depths that fit it."""

    page: str
    config: str
    depths: str = SPACE
    model: dict = {}  # what keeps the test small


# One of each kind; the others are slow to try.
USUAL = ('detr', 'pspnet')
RESNET = dict(backbone=dict(init_cfg=None))
STOCK = dict(
    retinanet=Stock(
        'st_det', 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', model=RESNET
    ),
    detr=Stock(
        'st_det', 'mmdet::detr/detr_r50_8xb2-150e_coco.py', model=RESNET
    ),
    other_neck=Stock(
        'st_det',
        'mmdet::pafpn/faster-rcnn_r50_pafpn_1x_coco.py',
        model=dict(RESNET, train_cfg=dict(rpn_proposal=dict(max_per_img=50))),
    ),
    pspnet=Stock(
        'st_seg',
        'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        model=dict(pretrained=None),
    ),
    deeplab=Stock(
        'st_seg',
        'mmseg::deeplabv3plus/'
        'deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        model=dict(pretrained=None),
    ),
    swin=Stock(
        'st_seg',
        'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_'
        'ade20k-512x512.py',
        'min_depth=1',
        dict(backbone=dict(init_cfg=None)),
    ),
)


def documented_lines(stock: Stock) -> str:
    """The lines of a page, for another config."""
    page = ROOT / 'configs' / stock.page / 'README.md'
    (code,) = python_blocks(page)
    base = re.search(r"_base_ = '(\w+::[^']+)'", code)[1]
    return code.replace(base, stock.config).replace(SPACE, stock.depths)


def small_run(stock: Stock, scenes: Path) -> dict:
    """The scenes as data, and two iterations."""
    loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
    if stock.page == 'st_seg':
        dataset = dict(
            _delete_=True,
            type='CityscapesDataset',
            data_root=str(scenes / 'cityscapes'),
            data_prefix=dict(
                img_path='leftImg8bit/train', seg_map_path='gtFine/train'
            ),
            pipeline=SEG_PIPELINE,
        )
        length = dict(max_iters=2, val_interval=10)
        model = dict(stock.model, data_preprocessor=dict(size=(64, 128)))
    else:
        dataset = dict(
            data_root=str(scenes / 'coco') + '/', pipeline=DET_PIPELINE
        )
        length = dict(max_epochs=1, val_interval=10)
        model = stock.model
    return dict(
        model=model,
        train_dataloader=dict(loader, dataset=dataset),
        train_cfg=length,
        default_hooks=dict(logger=dict(interval=1)),
        randomness=dict(seed=0),
        # Their data is not at hand.
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
    )


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[] if name in USUAL else pytest.mark.slow)
        for name in STOCK
    ],
)
def test_trains_with_subnets(name, digit_scenes, train, tmp_path):
    """ST* without another change; the checkpoint is the stock model's."""
    stock = STOCK[name]
    scope = stock.config.split('::')[0]
    pytest.importorskip(scope)
    (tmp_path / 'mine.py').write_text(documented_lines(stock))
    small = Config(dict(_base_='./mine.py', **small_run(stock, digit_scenes)))
    small.dump(tmp_path / 'small.py')
    work_dir = tmp_path / 'run'
    train([str(tmp_path / 'small.py'), '--work-dir', str(work_dir)])

    steps = [line for line in logged(work_dir) if 'subnet0_loss' in line]
    assert len(steps) == 2
    for record in steps:
        assert math.isfinite(record['loss']) and record['subnet0_loss'] > 0
        assert record['loss'] == pytest.approx(
            record['main_loss'] + record['subnet0_loss'], rel=1e-3
        )
    saved = load_run((work_dir / 'last_checkpoint').read_text())
    (tmp_path / 'stock.py').write_text(f"_base_ = '{stock.config}'\n")
    init_default_scope(scope)
    plain = Config.fromfile(tmp_path / 'stock.py')
    plain.merge_from_dict(dict(model=stock.model))
    keys = MODELS.build(plain.model).state_dict().keys()
    assert saved['state_dict'].keys() == keys


def test_backbone_without_stages_is_refused(digit_scenes, train, tmp_path):
    """HRNet's parallel branches are no stages of blocks that can be left."""
    pytest.importorskip('mmpose')
    stock = Stock(
        'st_pose',
        'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
        'td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
    )
    path = tmp_path / 'mine.py'
    path.write_text(documented_lines(stock))
    with pytest.raises(
        TypeError,
        match='no residual stages found in HRNet.*register_stage_finder',
    ):
        train(
            [
                str(path),
                '--work-dir',
                str(tmp_path / 'run'),
                '--cfg-options',
                'model.backbone.init_cfg=None',
                f'train_dataloader.dataset.data_root={digit_scenes}/coco/',
                f'val_dataloader.dataset.data_root={digit_scenes}/coco/',
                'val_dataloader.dataset.bbox_file=None',
                'val_evaluator.ann_file='
                f'{digit_scenes}/coco/annotations/'
                'person_keypoints_val2017.json',
                'train_dataloader.num_workers=0',
                'train_dataloader.persistent_workers=False',
            ]
        )
    assert not list((tmp_path / 'run').glob('*.pth'))
