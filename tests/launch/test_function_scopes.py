"""Functions that a ``<toolbox>::`` base names get no scope passed."""

import torch
from mmengine.runner import Runner

from mmst.launch.toolbox import read_config
from tests.conftest import TinyImages

STOCK = 'mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'


def test_loaders_of_a_stock_base(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = 'mmpretrain::{STOCK}'\n")
    loader = read_config(str(path)).train_dataloader
    assert loader.collate_fn == dict(type='default_collate')
    loader.update(dataset=TinyImages(), batch_size=4, num_workers=0)
    loader.update(persistent_workers=False, pin_memory=False)
    batch = next(iter(Runner.build_dataloader(loader, seed=0)))
    assert isinstance(batch['inputs'], torch.Tensor)
    assert batch['inputs'].shape == (4, 3, 16, 16)
