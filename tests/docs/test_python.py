"""Every Python block of the pages runs.

``tests/test_readme.py`` runs the README's, and
``tests/configs/test_downstream_pages.py`` those of the configs' pages, which
some how-tos repeat.
"""

import ast
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS, HOOKS
from mmpretrain.registry import MODELS

from mmst.targets import Resizing, handler, resize_samples
from tests.configs.test_downstream_pages import snippets
from tests.conftest import ROOT

from .blocks import BLOCKS, FILES, PAGES, python_blocks
from .test_first_hour import SMALL

PYTHON = [block for block in BLOCKS if block.language == 'python']
DOWNSTREAM = [code for _, code in snippets()]


def is_config(code: str) -> bool:
    return all(isinstance(node, ast.Assign) for node in ast.parse(code).body)


def of_docs(config: bool) -> list:
    """Blocks of docs/ that no other test runs: configs, or programs."""
    return [
        block
        for block in PYTHON
        if block.page.startswith('docs/')
        and 'read_base' not in block.code
        and block.code not in (*FILES.values(), *DOWNSTREAM)
        and is_config(block.code) is config
    ]


@pytest.mark.parametrize('block', of_docs(config=True), ids=lambda b: b.page)
def test_lines_of_a_config(block, tmp_path):
    """Added to a config of ours, they build."""
    path = tmp_path / 'config.py'
    base = ROOT / 'configs/demo/resnet20_stpp_mnistm5k.py'
    path.write_text(f'_base_ = {str(base)!r}\n{block.code}')
    cfg = Config.fromfile(path)
    before = Config.fromfile(base)
    assert cfg.to_dict() != before.to_dict()
    model = MODELS.build(cfg.model)
    build_optim_wrapper(model, cfg.optim_wrapper)
    for hook in cfg.custom_hooks:
        HOOKS.build(hook)
    worker_init_fn = cfg.train_dataloader.get('worker_init_fn')
    assert worker_init_fn is None or FUNCTIONS.get(worker_init_fn.type)


@pytest.mark.parametrize(
    'page', sorted({block.page for block in of_docs(config=False)})
)
def test_program(page, tmp_path, monkeypatch):
    """The blocks of a page, one after the other, as one program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / 'docs/how_to'))
    if 'timm' in (ROOT / page).read_text():
        pytest.importorskip('timm')
    names = {}
    for block in of_docs(config=False):
        if block.page == page:
            exec(compile(block.code, page, 'exec'), names)


def test_no_block_is_left_out():
    readme = (ROOT / 'tests/test_readme.py').read_text()
    run = re.findall(r'snippet\(\s*"?\'?(.+?)["\']\s*\)', readme)
    for block in PYTHON:
        if not block.page.startswith('docs/') and block.code not in DOWNSTREAM:
            assert block.page == 'README.md'
            assert block.code.startswith(tuple(run)), block.code
    codes = {block.code for block in PYTHON}
    # Files that pages show whole; these two tests run them.
    assert FILES.keys() == {*SMALL, 'plain_pytorch.py'}
    assert codes.issuperset(FILES.values())


def test_how_to_repeats_the_pages_of_the_configs():
    for page, *folders in (
        ('st_star_in_own_config', 'st_det', 'st_seg', 'st_pose'),
        ('use_st_backbone', '_base_/backbones'),
    ):
        text = (ROOT / f'docs/how_to/{page}.md').read_text()
        for folder in folders:
            readme = (ROOT / f'configs/{folder}/README.md').read_text()
            _, _, part = readme.partition('<!-- own config: begin -->\n')
            assert part.partition('<!-- own config: end -->')[0] in text


class MySample:
    """Points (x, y) in an image of some shape (H, W)."""

    def __init__(self, points, shape):
        self.points, self.shape = points, shape

    def replaced(self, points, shape):
        return MySample(points, shape)


def test_own_sample_type(monkeypatch):
    monkeypatch.setattr(handler, '_HANDLERS', {})
    code, *_ = python_blocks(ROOT / 'docs/how_to/add_sample_type.md')
    exec(code.replace('my_package.samples', __name__), {})
    sample = MySample(torch.tensor([[12.0, 4.0]]), (8, 16))
    resizing = Resizing(
        main_shape=(8, 16),
        resized_shape=(4, 8),
        padded_shape=(4, 12),
        divisor=4,
        model=None,
    )
    (small,) = resize_samples([sample], resizing)
    assert small.points.tolist() == [[6, 2]] and small.shape == (4, 12)
    assert sample.points.tolist() == [[12, 4]]


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """To files of the repository; Sphinx checks headings within docs/."""
    links = re.findall(r'\]\((?!https?:|#)([^)#\s]+)', page.read_text())
    assert not [to for to in links if not (page.parent / to).exists()]
