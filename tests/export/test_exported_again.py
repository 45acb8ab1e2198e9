"""An exported model is one like any other: trained and exported again."""

import shutil
import subprocess
import sys

import pytest
from mmengine.config import Config

from tests.conftest import classifier
from tests.export.conftest import write_standalone

# Nothing of this process: what it has imported hides what is missing.
READ = """
import sys
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
import mmpretrain.models
cfg = Config.fromfile(sys.argv[1])
with DefaultScope.overwrite_default_scope('mmpretrain'):
    model = MODELS.build(cfg.model)
model.load_state_dict(torch.load(cfg.load_from)['state_dict'])
print(*(len(layer) for layer in model.backbone.children()
        if isinstance(layer, torch.nn.Sequential)))
"""


@pytest.mark.parametrize('depths', [(1, 1, 1), (1, 2, 1)])
@pytest.mark.parametrize('name', ['second', 'first'])
def test_exported_again_and_moved(make_runner, tmp_path, depths, name):
    runner = make_runner(classifier())
    write_standalone(
        runner, runner.cfg, (1, 2, 1), tmp_path / 'one', 'first', 4
    )
    first = Config.fromfile(str(tmp_path / 'one' / 'first.py'))
    model = first.model.to_dict()
    model['head'] = dict(type='mmst.STClsHead', head=model['head'])
    runner = make_runner(model, custom_imports=first.custom_imports)
    write_standalone(runner, runner.cfg, depths, tmp_path / 'two', name, 4)
    shutil.move(str(tmp_path / 'two'), str(tmp_path / 'moved'))
    shutil.rmtree(tmp_path / 'one')
    done = subprocess.run(
        [sys.executable, '-c', READ, str(tmp_path / 'moved' / f'{name}.py')],
        capture_output=True,
        text=True,
        cwd=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(map(str, depths))
