"""Compiled blocks, in an interpreter of their own; see compiled_checks.py."""

import re
import sys

import pytest

from tests.conftest import ROOT
from tests.environments import run_process


@pytest.mark.slow
def test_compiled_blocks():
    pytest.importorskip('torchvision')
    command = ['-m', 'pytest', 'tests/compiled_checks.py']
    command += ['-p', 'no:cacheprovider']
    output = run_process(sys.executable, *command, cwd=ROOT)
    (passed,) = re.findall(r'(\d+) passed', output)
    assert int(passed) >= 14
