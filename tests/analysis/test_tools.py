"""Analysis tools answer ``--help`` before they import what they measure."""

import ast

import pytest

from tests.conftest import ROOT

TOOLS = sorted(
    path.relative_to(ROOT)
    for path in [
        *ROOT.glob('tools/analysis_tools/*.py'),
        ROOT / 'tools/export_subnet.py',
    ]
)
#: The modules that hold flags, and the standard library.
LIGHT = {
    *('mmst.launch.command_line', 'mmst.launch.short_errors'),
    *('run_analysis', 'typing', 'argparse'),
    *('contextlib', 'io', 'json', 'pathlib', 'sys', 'tempfile'),
}


@pytest.mark.parametrize('path', TOOLS, ids=[path.stem for path in TOOLS])
def test_heavy_imports_come_after_the_command_line(path):
    tree = ast.parse((ROOT / path).read_text())
    names = {
        name
        for node in tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names and names <= LIGHT


@pytest.mark.parametrize(
    'path', [path for path in TOOLS if path.stem != 'run_analysis']
)
def test_help_says_what_the_tool_is_for(load_tool, capsys, path):
    tool = load_tool(str(path.with_suffix('')))
    with pytest.raises(SystemExit, match='0'):
        tool.main(['--help'])
    printed = capsys.readouterr().out
    assert tool.__doc__.splitlines()[0] in printed
