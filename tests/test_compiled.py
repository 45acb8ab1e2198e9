"""Compiled blocks, in an interpreter of their own; see compiled_checks.py."""

import sys
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT
from tests.environments import run_process


@pytest.mark.slow
def test_compiled_blocks(tmp_path):
    pytest.importorskip('torchvision')
    report = tmp_path / 'report.xml'
    run_process(
        *(sys.executable, '-m', 'pytest', 'tests/compiled_checks.py'),
        *('-p', 'no:cacheprovider', f'--junitxml={report}'),
        cwd=ROOT,
    )
    (suite,) = ElementTree.parse(report).iter('testsuite')
    assert int(suite.get('tests')) - int(suite.get('skipped')) >= 15
