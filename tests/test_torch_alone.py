"""The core and its page work where no package of OpenMMLab is installed."""

import os
from importlib.util import find_spec

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


def test_page_runs_and_the_rest_says_what_is_missing(tmp_path):
    """With timm, where it is installed."""
    blocks = python_blocks(HOW_TO / 'plain_pytorch.md')
    assert 'import timm' in ''.join(blocks)
    code = '\n'.join([*blocks, REST]) if find_spec('timm') else REST
    python = make_environment(tmp_path, is_openmmlab)
    path = os.pathsep.join([str(ROOT), str(HOW_TO)])
    run_process(python, '-c', code, cwd=tmp_path, PYTHONPATH=path)
