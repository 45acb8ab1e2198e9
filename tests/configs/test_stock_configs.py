"""Stock configs that mmst does not ship, with the documented lines alone."""

import math
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT, load_run, logged
from tests.docs.blocks import python_blocks

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


#: The page whose lines are added, a toolbox's config, and what keeps it
#: small. Which families train is in test_stock_families.py.
STOCK = [
    (
        'st_det',
        'mmdet::detr/detr_r50_8xb2-150e_coco.py',
        dict(backbone=dict(init_cfg=None)),
    ),
    (
        'st_seg',
        'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        dict(pretrained=None),
    ),
]


def documented_lines(page: str, config: str) -> str:
    """The lines of a page, for another config."""
    (code,) = python_blocks(ROOT / 'configs' / page / 'README.md')
    return code.replace(re.search(r"_base_ = '(\w+::[^']+)'", code)[1], config)


def small_run(page: str, model: dict, scenes: Path) -> dict:
    """The scenes as data, and two iterations."""
    loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
    length = dict(max_epochs=1, val_interval=10)
    dataset = dict(data_root=f'{scenes}/coco/', pipeline=DET_PIPELINE)
    if page == 'st_seg':
        length = dict(max_iters=2, val_interval=10)
        model = dict(model, data_preprocessor=dict(size=(64, 128)))
        dataset = dict(
            _delete_=True,
            type='CityscapesDataset',
            data_root=f'{scenes}/cityscapes',
            data_prefix=dict(
                img_path='leftImg8bit/train', seg_map_path='gtFine/train'
            ),
            pipeline=SEG_PIPELINE,
        )
    return dict(
        model=model,
        train_dataloader=dict(loader, dataset=dataset),
        train_cfg=length,
        default_hooks=dict(logger=dict(interval=1)),
        randomness=dict(seed=0),
        # Their data is not at hand.
        **dict.fromkeys(('val_cfg', 'val_dataloader', 'val_evaluator')),
    )


@pytest.mark.parametrize('page, config, model', STOCK)
def test_trains_with_subnets(
    page, config, model, digit_scenes, train, tmp_path
):
    """ST* without another change; the checkpoint is the stock model's."""
    scope = config.split('::')[0]
    pytest.importorskip(scope)
    (tmp_path / 'mine.py').write_text(documented_lines(page, config))
    small = small_run(page, model, digit_scenes)
    Config(dict(_base_='./mine.py', **small)).dump(tmp_path / 'small.py')
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
    init_default_scope(scope)
    plain = get_config(config)
    plain.merge_from_dict(dict(model=model))
    keys = MODELS.build(plain.model).state_dict().keys()
    assert saved['state_dict'].keys() == keys
