"""The pages of the downstream configs say what is so."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import HOOKS, LOOPS, MODELS
from mmpretrain.models import ResNet
from torch.utils.data import DataLoader

from tests.docs.blocks import python_blocks

from .parsed import difference, enter_scope
from .test_downstream_configs import ROOT, SCOPES, ST, stock


def snippets() -> list:
    """(page, number, code) of every Python block of the pages."""
    pages = [
        *(ROOT / 'configs' / f for f in SCOPES),
        ROOT / 'configs/_base_/backbones',
    ]
    found = [
        (page.name, i, code)
        for page in pages
        for i, code in enumerate(python_blocks(page / 'README.md'))
    ]
    assert len(found) == 5
    return found


def save_backbone(path: Path) -> dict:
    """Write a ResNet-50 as a checkpoint of pretraining; give its weights."""
    backbone = ResNet(50)
    path.parent.mkdir()
    torch.save(
        dict(
            state_dict={
                f'backbone.{name}': value
                for name, value in backbone.state_dict().items()
            }
        ),
        path,
    )
    return backbone.state_dict()


@pytest.mark.parametrize('page, number, code', snippets())
def test_documented_lines_are_enough(
    page, number, code, tmp_path, monkeypatch
):
    """What the pages say to add to another config."""
    base = re.search(r"_base_ = '(\w+::[^']+)'", code)[1]
    before = stock(base, tmp_path)
    path = tmp_path / 'mine.py'
    path.write_text(code)
    cfg = Config.fromfile(path)
    enter_scope(cfg)
    changed = {key.rsplit('.', 1)[0] for key in difference(before, cfg)}
    if page == 'backbones':
        assert cfg.model.backbone.init_cfg == ST
        assert changed <= {
            'model',
            'model.backbone',
            'model.backbone.init_cfg',
        }
        monkeypatch.chdir(tmp_path)
        trained = save_backbone(tmp_path / ST['checkpoint'])
        model = MODELS.build(cfg.model)
        model.init_weights()
        loaded = model.backbone.state_dict()
        assert type(model.backbone).__name__ == 'ResNet'
        assert loaded.keys() == trained.keys()
        for name, value in trained.items():
            assert torch.equal(loaded[name], value), name
        return
    assert not any(key.startswith('model') for key in changed)
    loop = LOOPS.build(
        dict(cfg.train_cfg),
        default_args=dict(
            runner=SimpleNamespace(hooks=[]), dataloader=DataLoader([0])
        ),
    )
    limit = 'max_iters' if page == 'st_seg' else 'max_epochs'
    assert getattr(loop, limit) == before.train_cfg[limit]
    assert loop.val_interval == before.train_cfg.val_interval
    sampler = HOOKS.build(cfg.custom_hooks[-1]).sampler
    sampler.fit(MODELS.build(cfg.model))
    assert all(min(depths) == 3 for depths in sampler.space.depths)


@pytest.mark.parametrize(
    'family',
    sorted(
        str(page.parent.relative_to(ROOT / 'configs'))
        for page in (ROOT / 'configs').rglob('README.md')
    ),
)
def test_page_lists_every_config(family):
    """And what it links or names exists."""
    folder = ROOT / 'configs' / family
    text = (folder / 'README.md').read_text()
    if not family.startswith('_base_'):
        for config in folder.rglob('*.py'):
            assert f'({config.relative_to(folder)})' in text
    for path in re.findall(r'configs/[\w/-]+\.py', text):
        assert (ROOT / path).exists()
    for path in re.findall(r'\]\(([^)#]+)[^)]*\)', text):
        assert '://' in path or (folder / path).exists(), path


@pytest.mark.parametrize('family', SCOPES)
def test_results_of_the_metafile_are_on_the_page(family):
    folder = ROOT / 'configs' / family
    text = (folder / 'README.md').read_text()
    meta = yaml.safe_load((folder / 'metafile.yml').read_text())
    for model in meta['Models']:
        assert 'not trained with' in model['Metadata']['Origin of Results']
        for result in model.get('Results', []):
            for value in result['Metrics'].values():
                assert re.search(rf'\| {value}0* \|', text)


def test_checkpoint_of_the_backbone_page():
    folder = ROOT / 'configs/_base_/backbones'
    text = (folder / 'README.md').read_text()
    (r50_st,) = folder.glob('*.py')
    checkpoint = Config.fromfile(r50_st).backbone_init.checkpoint
    assert re.search(rf'^\| R50-ST \|.*`{re.escape(checkpoint)}`', text, re.M)
