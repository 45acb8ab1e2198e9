"""Stock config families with a residual backbone, on odd data.

The page of the docs says which of them train, and its list is run.
"""

import json

import pytest

from tests.conftest import ROOT

FOUND = json.loads((ROOT / 'resources/stock_configs.json').read_text())
ROWS = [
    (toolbox, *row)
    for toolbox, configs in FOUND['outcomes'].items()
    for row in configs.items()
]
#: Families that only the OneDL packages have.
ONEDL = dict(mmdet={'clrnet'}, mmseg=set(), mmpose=set())
TOOLBOXES = list(ONEDL)


@pytest.fixture(scope='module')
def tool(load_tool):
    pytest.importorskip('mmdet')  # for the scenes
    return load_tool('.dev_scripts/stock_configs')


@pytest.mark.slow
@pytest.mark.parametrize(
    'toolbox, config, expected', ROWS, ids=[config for _, config, _ in ROWS]
)
def test_outcome_is_the_page_s(tool, toolbox, config, expected):
    """In words of mmst where it is refused."""
    pytest.importorskip(toolbox)
    package, expected = tool.NEEDS.match(expected).groups()
    if package:
        pytest.importorskip(package)
    if expected.startswith('not run'):
        pytest.skip(expected)
    assert tool.in_words(tool.outcomes(toolbox, config)) == expected


@pytest.mark.parametrize('toolbox', TOOLBOXES)
def test_page_has_every_family(tool, toolbox):
    """Each folder of configs is in the table or in one of the lists."""
    pytest.importorskip(toolbox)
    installed = set(tool.families(toolbox))
    configs = FOUND['outcomes'][toolbox]
    in_table = {tool.family_of(toolbox, config) for config in configs}
    without = set(FOUND['no residual backbone'][toolbox])
    unbuilt = set(FOUND['no model that can be built'][toolbox])
    on_page = in_table | without | unbuilt
    assert not installed - on_page
    assert on_page - installed <= ONEDL[toolbox]
    assert not in_table & without


@pytest.mark.slow
@pytest.mark.parametrize('toolbox', TOOLBOXES)
def test_no_family_is_left_out_that_has_stages(tool, toolbox):
    """One backbone of each type that a family's configs have."""
    pytest.importorskip(toolbox)
    tried = {}
    for name, configs in tool.families(toolbox).items():
        if name in FOUND['no residual backbone'][toolbox]:
            for config in configs:
                try:
                    model = tool.load(toolbox, config).get('model', {})
                except OSError:  # whose base is not in the package
                    continue
                for backbone in tool.iter_backbones(model):
                    tried.setdefault(backbone['type'], (name, backbone))
    assert tried
    assert not [
        name
        for name, backbone in tried.values()
        if tool.has_stages(toolbox, backbone)
    ]
