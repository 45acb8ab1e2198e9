"""The core and its page work where no package of OpenMMLab is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import BLOCKS

ROOT = Path(__file__).resolve().parents[1]
PAGE = 'docs/how_to/plain_pytorch.md'
# Run before the page: from here on none of them can be imported.
WITHOUT_OPENMMLAB = '''
import sys

NAMES = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg', 'mmpose')


class Without:
    """A finder that does not find these, as where they are not installed."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *args):
        if name.split('.')[0] not in NAMES:
            return self.finder.find_spec(name, *args)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = map(Without, sys.meta_path)
'''
THEN = """
assert not [name for name in sys.modules if name.split('.')[0] in NAMES]
print('done')
"""


def run_without_openmmlab(code: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(ROOT), str(ROOT / 'docs/how_to')])
    return subprocess.run(
        [sys.executable, '-c', WITHOUT_OPENMMLAB + code + THEN],
        env={**os.environ, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_page_runs_timm_included():
    pytest.importorskip('timm')
    blocks = [b for b in BLOCKS if b.page == PAGE and b.language == 'python']
    assert any('import timm' in block.code for block in blocks)
    done = run_without_openmmlab('\n'.join(block.code for block in blocks))
    assert done.stdout.splitlines()[-1:] == ['done'], done.stdout


# One line for each thing that the core does.
EVERYTHING = """
import torch
import torchvision
import mmst
from mmst.subnets import *

model = torchvision.models.resnet18(num_classes=3)
images = torch.rand(2, 3, 64, 64)
sampler = SubnetSampler(2, min_depth=1, size_range=(0.5, 1.0)).fit(model)
assert len(find_stages(model)) == 4
for subnet in sampler.draw(0):
    with activate(model, subnet):
        model(resize_inputs(images, subnet.size))
runner = PassRunner(model)
losses = runner.run([None, *sampler.draw(0)], lambda s: model(images).sum())
assert len(losses) == 3
assert predict_iteration_cost(model, images[:1], sampler) > 1
SubnetInputs(['crop', 'flip', 'jitter'])(images, 0.5)
assert measure_cost(model, images[:1]).total > 0
assert export_subnet(model, (1, 1, 1, 1))(images).shape == (2, 3)
assert kl_minus(model(images), model(images)) >= 0
assert mmst.subnets.find_stages is find_stages
"""


def test_everything_in_the_core():
    done = run_without_openmmlab(EVERYTHING)
    assert done.stdout.splitlines()[-1:] == ['done'], done.stdout


@pytest.mark.parametrize(
    'name',
    [
        'engine',
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ('models', 'evaluation', 'export')
        ),
    ],
)
def test_the_rest_says_what_is_missing(name):
    done = run_without_openmmlab(f'import mmst\nmmst.{name}\n')
    assert done.returncode == 1
    assert 'ImportError: mmst needs mmengine>=0.10.0' in done.stdout
