"""Every Python block of the pages runs.

Those of the README run in ``tests/test_readme.py``, those of the configs'
pages, which some how-tos repeat, in
``tests/configs/test_downstream_pages.py``.
"""

import ast
import re

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS, HOOKS
from mmpretrain.registry import MODELS

from mmst.subnets import stages
from mmst.targets import handler
from tests.configs.test_downstream_pages import snippets
from tests.conftest import ROOT

from .blocks import BLOCKS, FILES

PYTHON = [block for block in BLOCKS if block.language == 'python']
DOWNSTREAM = [code for _, _, code in snippets()]
#: Files that pages show whole, and the tests that run these.
SHOWN = {
    'my_images.py': 'test_first_hour.py',
    'my_detector.py': 'test_first_hour.py',
    'my_new_style.py': 'test_new_style.py',
    'plain_pytorch.py': 'test_plain_pytorch.py',
}


def is_config(code: str) -> bool:
    return all(isinstance(node, ast.Assign) for node in ast.parse(code).body)


def of_docs(config: bool) -> list:
    return [
        block
        for block in PYTHON
        if block.page.startswith('docs/')
        and 'read_base' not in block.code  # test_new_style.py runs it
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
    # What a page registers is known on that page only.
    monkeypatch.setattr(stages, '_FINDERS', dict(stages._FINDERS))
    monkeypatch.setattr(handler, '_HANDLERS', dict(handler._HANDLERS))
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
        if block.page == 'README.md':
            assert block.code.startswith(tuple(run)), block.code
        elif not block.page.startswith('docs/'):
            assert block.code in DOWNSTREAM, block.page
    codes = {block.code for block in PYTHON}
    assert FILES.keys() == SHOWN.keys() and codes.issuperset(FILES.values())
    for test in SHOWN.values():
        assert (ROOT / 'tests/docs' / test).is_file()


@pytest.mark.parametrize(
    'page, folders',
    [
        ('st_star_in_own_config', ['st_det', 'st_seg', 'st_pose']),
        ('use_st_backbone', ['_base_/backbones']),
    ],
)
def test_how_to_repeats_the_pages_of_the_configs(page, folders):
    text = (ROOT / f'docs/how_to/{page}.md').read_text()
    for folder in folders:
        readme = (ROOT / f'configs/{folder}/README.md').read_text()
        _, _, part = readme.partition('<!-- own config: begin -->\n')
        assert part.partition('<!-- own config: end -->')[0] in text
