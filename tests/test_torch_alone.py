"""The core and its page work where no package of OpenMMLab is installed."""

import os
import subprocess

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import BLOCKS
from tests.environments import is_openmmlab, make_environment

PAGE = 'docs/how_to/plain_pytorch.md'
REST = """
import mmst
for name in ('engine', 'models', 'evaluation', 'export'):
    try:
        getattr(mmst, name)
    except ImportError as error:
        assert 'mmst needs mmengine>=0.10.0' in str(error)
    else:
        raise AssertionError(name)
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('torch_alone')
    python = make_environment(folder, is_openmmlab)
    path = os.pathsep.join([str(ROOT), str(ROOT / 'docs/how_to')])

    def run(code: str) -> None:
        done = subprocess.run(
            [python, '-c', code],
            cwd=folder,
            env={**os.environ, 'PYTHONPATH': path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout

    return run


def test_page_runs_timm_included(run):
    pytest.importorskip('timm')
    blocks = [b for b in BLOCKS if b.page == PAGE and b.language == 'python']
    assert any('import timm' in block.code for block in blocks)
    run('\n'.join(block.code for block in blocks))


def test_the_rest_says_what_is_missing(run):
    run(REST)
