"""Configs of self-supervised pretraining: listed, and trained in small."""

import math
import re

import numpy as np
import pytest
from mmengine.hub import get_config
from mmengine.runner import Runner
from PIL import Image

from mmst.launch.toolbox import read_config
from tests.conftest import ROOT, logged

FOLDER = ROOT / 'configs/st_selfsup'
CONFIGS = sorted(path.name for path in FOLDER.glob('*.py'))


@pytest.mark.parametrize('name', CONFIGS)
def test_st_is_the_stock_config_but_for_the_method(name):
    cfg = read_config(str(FOLDER / name))
    stock = get_config('mmpretrain::mae/' + name.replace('_st', ''))
    assert cfg.pop('custom_imports').imports == ['mmst']
    (sampler,) = cfg.pop('custom_hooks')
    assert sampler.type == 'mmst.SubnetSamplerHook'
    assert cfg.train_cfg.pop('type') == 'mmst.STEpochBasedTrainLoop'
    assert stock.train_cfg.pop('type') == 'EpochBasedTrainLoop'

    def plain(part):
        """Without the scopes that inheriting adds."""
        if isinstance(part, dict):
            return {k: plain(v) for k, v in part.items() if k != '_scope_'}
        return (
            [plain(each) for each in part]
            if isinstance(part, (list, tuple))
            else part
        )

    assert plain(cfg.to_dict()) == plain(stock.to_dict())


@pytest.mark.parametrize('name', CONFIGS)
def test_trains_in_small(name, tmp_path):
    """A narrow encoder of as many layers, on images of 32 px."""
    generator = np.random.default_rng(0)
    for folder in ('meta', 'train'):
        (tmp_path / 'imagenet' / folder).mkdir(parents=True)
    (tmp_path / 'imagenet/meta/train.txt').write_text(
        ''.join(f'{index}.JPEG {index}\n' for index in range(4))
    )
    for index in range(4):
        pixels = generator.integers(256, size=(40, 40, 3), dtype=np.uint8)
        path = tmp_path / f'imagenet/train/{index}.JPEG'
        Image.fromarray(pixels).save(path)
    cfg = read_config(str(FOLDER / name))
    cfg.merge_from_dict(
        {
            'work_dir': str(tmp_path / 'work'),
            'model.backbone.arch': dict(
                _delete_=True,
                embed_dims=8,
                num_layers=12,
                num_heads=2,
                feedforward_channels=16,
            ),
            'model.backbone.img_size': 32,
            'model.backbone.patch_size': 4,
            'model.neck.num_patches': 64,
            'model.neck.patch_size': 4,
            'model.neck.embed_dim': 8,
            'model.neck.decoder_embed_dim': 8,
            'model.neck.decoder_depth': 1,
            'model.neck.decoder_num_heads': 2,
            'model.head.patch_size': 4,
            'train_dataloader.dataset.data_root': str(tmp_path / 'imagenet'),
            'train_dataloader.dataset.pipeline.1.scale': 32,
            'train_dataloader.batch_size': 2,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'default_hooks.logger.interval': 1,
            'train_cfg.max_epochs': 1,
        }
    )
    # Its own mixed precision is for GPUs.
    cfg.optim_wrapper = dict(optimizer=cfg.optim_wrapper.optimizer)
    Runner.from_cfg(cfg).train()
    lines = logged(tmp_path / 'work')
    assert len(lines) == 2
    for line in lines:
        assert math.isfinite(line['main_loss'])
        assert math.isfinite(line['subnet0_loss'])
    text = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert re.search(r'layers +12 +[\d.]+%  12, 11, 10, 9, 8, 7, 6\n', text)
