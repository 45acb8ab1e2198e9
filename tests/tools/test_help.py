"""Tools say what they are for at once, before anything heavy is imported."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT

#: Not run by themselves, or with no work to do without torch.
OTHERS = {'run_analysis', 'iteration_cost', 'precompile_header'}
TOOLS = [
    str(path)
    for path in sorted(ROOT.glob('tools/**/*.py'))
    if path.stem not in OTHERS
]
CODE = """
import contextlib, io, json, runpy, sys
from pathlib import Path

for name in ('torch', 'numpy', 'matplotlib', 'mmengine', 'mmpretrain'):
    sys.modules[name] = None
said = {}
for path in sys.argv[1:]:
    sys.argv = [path, '--help']
    sys.path[0] = str(Path(path).parent)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as error:
            assert error.code == 0
    said[path] = out.getvalue()
print(json.dumps(said))
"""


def test_help_needs_no_package():
    done = subprocess.run(
        [sys.executable, '-c', CODE, *TOOLS],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said) == len(TOOLS) > 10
    for path in TOOLS:
        with open(path) as file:
            about = file.readline().strip('"\n')
        assert 'usage: ' in said[path] and about in said[path], path
