"""The pages of the downstream configs say what is so."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS
from mmpretrain.models import ResNet

from tests.conftest import ROOT
from tests.docs.blocks import build_loop_and_sampler, python_blocks

from .parsed import difference, enter_scope
from .test_downstream_configs import SCOPES, ST, stock


def snippets() -> list:
    """(page, code) of every Python block of the pages; README has one."""
    found = [
        (page, code)
        for page in (*SCOPES, '_base_/backbones')
        for code in python_blocks(ROOT / 'configs' / page / 'README.md')
    ]
    codes = python_blocks(ROOT / 'README.md')
    found += [('st_det', c) for c in codes if c.startswith("_base_ = 'mmdet:")]
    assert len(found) == 6
    return found


def read_mine(code: str, tmp_path) -> tuple:
    """The config of a snippet, its base, and the keys that differ."""
    before = stock(re.search(r"_base_ = '(\w+::[^']+)'", code)[1])
    path = tmp_path / 'mine.py'
    path.write_text(code)
    cfg = Config.fromfile(path)
    enter_scope(cfg)
    return cfg, before, difference(before, cfg)


@pytest.mark.parametrize('code', [c for p, c in snippets() if p in SCOPES])
def test_documented_lines_are_enough(code, tmp_path):
    cfg, before, changed = read_mine(code, tmp_path)
    assert not any(key.startswith('model') for key in changed)
    loop, sampler = build_loop_and_sampler(cfg)
    limit = 'max_iters' if 'Iter' in type(loop).__name__ else 'max_epochs'
    assert getattr(loop, limit) == before.train_cfg[limit]
    assert loop.val_interval == before.train_cfg.val_interval
    sampler.fit(MODELS.build(cfg.model.backbone))
    assert all(min(depths) == 3 for depths in sampler.space.depths)
    assert sampler.draw(0)[0].size is not None


@pytest.mark.parametrize('code', [c for p, c in snippets() if p not in SCOPES])
def test_documented_backbone_is_loaded(code, tmp_path, monkeypatch):
    cfg, _, changed = read_mine(code, tmp_path)
    assert cfg.model.backbone.init_cfg == ST
    assert not cfg.model.get('pretrained')  # it would be in its place
    # Nothing but the weights, and the ResNet that they are for.
    assert {key.rsplit('.', 1)[0] for key in changed} <= {
        *('model', 'model.backbone', 'model.backbone.init_cfg')
    }
    trained = {
        f'backbone.{name}': value
        for name, value in ResNet(50).state_dict().items()
    }
    monkeypatch.chdir(tmp_path)
    Path(ST['checkpoint']).parent.mkdir()
    torch.save(dict(state_dict=trained), ST['checkpoint'])
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    loaded = backbone.state_dict()
    assert type(backbone).__name__ == 'ResNet'
    assert len(loaded) == len(trained)
    for name, value in loaded.items():
        assert torch.equal(value, trained[f'backbone.{name}']), name


@pytest.mark.parametrize(
    'family',
    sorted(
        str(page.parent.relative_to(ROOT / 'configs'))
        for page in (ROOT / 'configs').rglob('README.md')
    ),
)
def test_page_lists_every_config(family):
    """What it names exists, too."""
    folder = ROOT / 'configs' / family
    text = (folder / 'README.md').read_text()
    if not family.startswith('_base_'):
        for config in folder.rglob('*.py'):
            assert f'({config.relative_to(folder)})' in text
    for path in re.findall(r'configs/[\w/-]+\.py', text):
        assert (ROOT / path).exists()


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
