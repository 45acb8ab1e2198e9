"""Configs, each read and built once, and what differs between two."""

from functools import lru_cache

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmst.launch.toolbox import check_toolbox
from tests.conftest import ROOT

# Top-level names that only serve to write the configs.
VARIABLES = (
    'adamw',
    'backbone_init',
    'read',
    'st_head',
    'subnet_sampler',
    'test_pipeline',
    'train_pipeline',
    'uniform_augment',
)


@lru_cache(maxsize=None)
def parse(config: str) -> Config:
    """Read a config below ``configs``; not to be changed."""
    return Config.fromfile(ROOT / 'configs' / config)


def build(config: str) -> nn.Module:
    """The model of a config, with random weights; not to be changed."""
    cfg = parse(config)
    enter_scope(cfg)
    model = dict(cfg.model)
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return _build(Config(model).pretty_text)


@lru_cache(maxsize=None)
def _build(model: str) -> nn.Module:
    """Build each model once; many configs have the same."""
    return MODELS.build(Config.fromstring(model, '.py'))


def enter_scope(cfg: Config) -> None:
    """Let its toolbox's names be known."""
    check_toolbox(cfg)
    init_default_scope(cfg.default_scope)


def flat(value, name='') -> dict:
    """A config as one level: 'model.head.type' -> value."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {name[1:]: value}
    return {
        key: leaf
        for child, inner in items
        for key, leaf in flat(inner, f'{name}.{child}').items()
    }


def difference(first: Config, second: Config) -> dict:
    """Keys in which two configs differ, with both values."""
    a, b = (flat(cfg.to_dict()) for cfg in (first, second))
    return {
        key: (a.get(key), b.get(key))
        for key in {*a, *b}
        if (key in a) != (key in b) or a.get(key) != b.get(key)
        if key.split('.')[0] not in VARIABLES and not key.endswith('_scope_')
    }
