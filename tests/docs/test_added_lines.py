"""Documented lines add to the hooks and imports of any base."""

import re

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS

from mmst.engine import STEpochBasedTrainLoop
from mmst.models import STClsHead

from .blocks import BLOCKS, FILES, build_loop_and_sampler

STOCK = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'
ADDING = [
    block
    for block in BLOCKS
    if block.language == 'python'
    and block.code not in FILES.values()
    and re.search(r'^custom_(hooks|imports) =', block.code, re.M)
]
#: A base with neither, and one with both, as text and in the new style.
WITHOUT = "_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'\n"
WITH = f"_base_ = {STOCK!r}\ncustom_imports = dict(imports=['string'])\n"
NEW_WITHOUT = """from mmpretrain.models import LinearClsHead, ResNet
model = dict(
    backbone=dict(type=ResNet, depth=50),
    head=dict(type=LinearClsHead, num_classes=6, in_channels=2048))
"""
NEW_WITH = f"""{NEW_WITHOUT}
from mmengine.hooks import EMAHook
custom_hooks = [dict(type=EMAHook)]
custom_imports = dict(imports=['string'])
"""


def read_hooks(block, tmp_path, text: str, new_style: str) -> tuple:
    """Read a block's config, with a base of ours in place of its own.

    Gives the types of its hooks, without their packages, and the config.
    """
    code = re.sub(r'^_base_ = .*$', '', block.code, flags=re.M)
    base = new_style if 'read_base' in code else text
    if base is text:
        code = f"_base_ = './my_config.py'\n{code}"
    (tmp_path / 'my_config.py').write_text(base)
    (tmp_path / 'mine.py').write_text(code)
    cfg = Config.fromfile(str(tmp_path / 'mine.py'))
    kinds = [getattr(h.type, '__name__', h.type) for h in cfg.custom_hooks]
    return [kind.split('.')[-1] for kind in kinds], cfg


def test_pages_have_such_lines():
    pages = {block.page for block in ADDING}
    assert {'README.md', 'docs/error_messages.md'} <= pages
    assert len(ADDING) >= 8


@pytest.mark.parametrize('block', ADDING, ids=lambda b: b.page)
def test_base_keeps_its_own(block, tmp_path):
    (own, _), cfg = read_hooks(block, tmp_path, WITH, NEW_WITH)
    assert own == 'EMAHook' and 'string' in cfg.custom_imports.imports
    # By its type alone, without an import.
    assert type(HOOKS.build(cfg.custom_hooks[1])).__module__.startswith('mmst')
    hooks, _ = read_hooks(block, tmp_path, WITHOUT, NEW_WITHOUT)
    assert len(hooks) == 1


@pytest.mark.parametrize(
    'block',
    [block for block in ADDING if 'STClsHead' in block.code],
    ids=lambda b: b.page,
)
def test_base_is_turned_into_st(block, tmp_path):
    """In both styles: head, loop and hook."""
    _, cfg = read_hooks(block, tmp_path, WITHOUT, NEW_WITHOUT)
    head = MODELS.build(cfg.model.head)
    assert isinstance(head, STClsHead) and head.num_classes in (6, 1000)
    loop, sampler = build_loop_and_sampler(cfg)
    assert type(loop) is STEpochBasedTrainLoop and loop.max_epochs == 200
    sampler.fit(MODELS.build(cfg.model.backbone))
    assert sampler.space.candidates == (1, 2, 4, 1)


def test_a_hook_by_itself():
    (code,) = (b.code for b in BLOCKS if b.code.startswith('dict('))
    assert HOOKS.build(eval(code)).sampler.num_sizes == 1
