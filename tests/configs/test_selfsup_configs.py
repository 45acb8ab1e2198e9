"""Configs of self-supervised pretraining: listed, and trained in small."""

import math
import re

from mmengine.hub import get_config
from mmengine.runner import Runner

from mmst.launch.toolbox import read_config
from tests.conftest import ROOT, logged, read_log

from .parsed import difference

(PATH,) = (ROOT / 'configs/st_selfsup').glob('*.py')


def test_st_is_the_stock_config_but_for_the_method():
    stock = get_config('mmpretrain::mae/' + PATH.name.replace('_st', ''))
    assert difference(stock, read_config(str(PATH))) == {
        'custom_imports.imports.0': (None, 'mmst'),
        'custom_imports.allow_failed_imports': (None, False),
        'train_cfg.type': (
            'EpochBasedTrainLoop',
            'mmst.STEpochBasedTrainLoop',
        ),
        'custom_hooks.0.type': (None, 'mmst.SubnetSamplerHook'),
        'custom_hooks.0.num_subnets': (None, 1),
        'custom_hooks.0.min_depth': (None, 6),
    }


def test_trains_in_small(imagenet, tmp_path):
    """A narrow encoder of as many layers, on images of 32 px."""
    cfg = read_config(str(PATH))
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
            'train_dataloader.dataset.data_root': str(imagenet),
            'train_dataloader.dataset.pipeline.1.scale': 32,
            'train_dataloader.batch_size': 4,
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
    text = read_log(tmp_path / 'work')
    assert re.search(r'layers +12 +[\d.]+%  12, 11, 10, 9, 8, 7, 6\n', text)
