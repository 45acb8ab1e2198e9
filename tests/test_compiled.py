"""Compiled blocks, in an interpreter of their own; see compiled_checks.py."""

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_compiled_blocks(tmp_path):
    pytest.importorskip('torchvision')
    report = tmp_path / 'report.xml'
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'pytest', 'tests/compiled_checks.py'),
            *('-p', 'no:cacheprovider', f'--junitxml={report}'),
        ],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    (suite,) = ElementTree.parse(report).iter('testsuite')
    assert int(suite.get('tests')) - int(suite.get('skipped')) >= 15
