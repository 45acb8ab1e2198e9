"""Tools say what they are for at once, before anything heavy is imported."""

import json
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.environments import run_process

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
    said = json.loads(run_process(sys.executable, '-c', CODE, *TOOLS))
    assert len(said) == len(TOOLS) > 10
    for path in TOOLS:
        about = Path(path).read_text().splitlines()[0].strip('"')
        assert 'usage: ' in said[path] and about in said[path], path
