"""The core and its page work where no package of OpenMMLab is installed."""

import os

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import python_blocks
from tests.environments import is_openmmlab, make_environment, run_process

HOW_TO = ROOT / 'docs/how_to'
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
    path = os.pathsep.join([str(ROOT), str(HOW_TO)])

    def run(code: str) -> None:
        run_process(python, '-c', code, cwd=folder, PYTHONPATH=path)

    return run


def test_page_runs_timm_included(run):
    pytest.importorskip('timm')
    code = '\n'.join(python_blocks(HOW_TO / 'plain_pytorch.md'))
    assert 'import timm' in code
    run(code)


def test_the_rest_says_what_is_missing(run):
    run(REST)
