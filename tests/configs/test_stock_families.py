"""Stock config families with a residual backbone, on odd data.

The page of the docs says which of them train, and is the list that is run.
"""

import re

import pytest

from ..conftest import ROOT
from .stock_families import (
    families,
    family_of,
    has_stages,
    in_words,
    iter_backbones,
    load,
    outcomes,
)

PAGE = (ROOT / 'docs/stock_configs.md').read_text(encoding='utf-8')
ROWS = re.findall(r'^\| (\w+) \| `(.+?)` \| (.+?) \|$', PAGE, re.MULTILINE)
TOOLBOXES = ('mmdet', 'mmseg', 'mmpose')
#: Families that only the OneDL packages have.
ONEDL = {('mmdet', 'clrnet')}


def listed(reason):
    """Families of a line such as ``- mmdet, <reason>: `a`, `b`.``."""
    return {
        (toolbox, name)
        for toolbox, names in re.findall(
            rf'^- (\w+), {reason}: ((?:.+\n)+?)(?=\n|- |\Z)',
            PAGE,
            re.MULTILINE,
        )
        for name in re.findall('`(.+?)`', names)
    }


WITHOUT_STAGES = listed('no residual backbone')


@pytest.mark.slow
@pytest.mark.parametrize(
    'toolbox, config, expected', ROWS, ids=[row[1] for row in ROWS]
)
def test_outcome_is_the_page_s(toolbox, config, expected):
    """In words of mmst where it is refused."""
    pytest.importorskip(toolbox)
    needs = re.match('needs `(.+?)`: (.+)$', expected)
    if needs:
        pytest.importorskip(needs[1])
        expected = needs[2]
    if expected.startswith('not run'):
        pytest.skip(expected)
    assert in_words(outcomes(toolbox, config)) == expected


@pytest.mark.parametrize('toolbox', TOOLBOXES)
def test_page_has_every_family(toolbox):
    """Each folder of configs is in the table or in one of the lists."""
    pytest.importorskip(toolbox)
    installed = {(toolbox, family) for family in families(toolbox)}
    in_table = {(name, family_of(name, config)) for name, config, _ in ROWS}
    on_page = in_table | WITHOUT_STAGES | listed('no model that can be built')
    assert installed - on_page == set()
    assert {
        family for family in on_page if family[0] == toolbox
    } - installed <= ONEDL
    assert not in_table & WITHOUT_STAGES


@pytest.mark.slow
@pytest.mark.parametrize('toolbox', TOOLBOXES)
def test_no_family_is_left_out_that_has_stages(toolbox):
    """One backbone of each type that a family's configs have."""
    pytest.importorskip(toolbox)
    tried = {}
    for name, configs in families(toolbox).items():
        if (toolbox, name) in WITHOUT_STAGES:
            for config in configs:
                try:
                    model = load(toolbox, config).get('model', {})
                except OSError:  # whose base is not in the package
                    continue
                for backbone in iter_backbones(model):
                    tried.setdefault(backbone['type'], (name, backbone))
    assert tried
    assert not [
        name
        for name, backbone in tried.values()
        if has_stages(toolbox, backbone)
    ]
