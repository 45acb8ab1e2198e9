"""The eight downstream frameworks train, validate and resume.

The real configs with ST*, shrunk as demo/downstream.py shrinks them, on
a few digit scenes in COCO's files and Cityscapes' layout.
"""

import math
import re
import sys
from runpy import run_path

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT, load_run, logged
from tests.docs.blocks import python_blocks
from tests.environments import run_process

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpose')
FRAMEWORKS = run_path(str(ROOT / 'demo/downstream_frameworks.py'))[
    'FRAMEWORKS'
]
# One of each toolbox; the others are slow to try.
USUAL = ('mask-rcnn', 'semantic-fpn', 'simple-baseline')


@pytest.fixture
def options_of(digit_scenes):
    """Options of the demo for two iterations an epoch on the few scenes."""

    def options_of(name: str, length: int) -> list:
        framework = FRAMEWORKS[name]
        by_iter = framework.unit == 'iters'
        options = {
            **framework.list_options('st-star', length * (1 + by_iter)),
            'model.backbone.init_cfg': None,
            'train_cfg.val_interval': 1 + by_iter,
            'default_hooks.checkpoint.interval': 1 + by_iter,
            'default_hooks.logger.interval': 1,
            'train_dataloader.batch_size': 2,
            'randomness.seed': 0,
        }
        if not by_iter:
            options['train_dataloader.dataset.indices'] = 3
            options['val_dataloader.dataset.indices'] = 2
        return [
            f'{key}={value}'.replace('data/digit_scenes', str(digit_scenes))
            for key, value in options.items()
        ]

    return options_of


def check_steps(work_dir, steps: list) -> list:
    """Check the losses of these steps; return all lines of the log."""
    lines = logged(work_dir)
    found = [line for line in lines if 'subnet0_loss' in line]
    assert [line['step'] for line in found] == steps
    for line in found:
        assert math.isfinite(line['loss']) and line['subnet0_loss'] > 0
        both = line['main_loss'] + line['subnet0_loss']
        assert line['loss'] == pytest.approx(both, rel=1e-3)
    return lines


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[] if name in USUAL else pytest.mark.slow)
        for name in FRAMEWORKS
    ],
)
def test_trains_validates_and_resumes(name, options_of, train, tmp_path):
    if name == 'panoptic-fpn':
        pytest.importorskip('panopticapi')
    framework = FRAMEWORKS[name]
    config = 'configs/' + framework.config.format('st-star')
    for length in (1, 2):
        options = options_of(name, length)
        train(
            [config, '--work-dir', tmp_path, '--resume']
            + ['--cfg-options', *options]
        )
    lines = check_steps(tmp_path, [1, 2, 3, 4])
    last = load_run((tmp_path / 'last_checkpoint').read_text())
    assert last['meta']['iter'] == 4
    # COCO's metric says nothing where nothing is detected.
    if name in ('semantic-fpn', 'simple-baseline', 'panoptic-fpn'):
        assert any(framework.metrics[0] in r for r in lines)


#: Appended to documented lines, so that they train for two iterations.
SMALL = """
model = dict(backbone=dict(init_cfg=None))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(96, 72), keep_ratio=True),
    dict(type='PackDetInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(data_root='DATA/coco/', pipeline=pipeline))
train_cfg.update(max_epochs=1, val_interval=10)
default_hooks = dict(logger=dict(interval=1))
val_cfg = val_dataloader = val_evaluator = None
"""


def test_documented_lines_train_a_stock_config(digit_scenes, train, tmp_path):
    """A DETR; the checkpoint is the stock model's.

    Which other families train is in test_stock_families.py.
    """
    config = 'mmdet::detr/detr_r50_8xb2-150e_coco.py'
    (code,) = python_blocks(ROOT / 'configs/st_det/README.md')
    code = re.sub(r"_base_ = '\S+'", f'_base_ = {config!r}', code)
    small = SMALL.replace('DATA', str(digit_scenes))
    (tmp_path / 'mine.py').write_text(code + small)
    work_dir = tmp_path / 'run'
    train([tmp_path / 'mine.py', '--work-dir', work_dir])
    check_steps(work_dir, [1, 2])
    saved = load_run((work_dir / 'last_checkpoint').read_text())
    init_default_scope('mmdet')
    plain = get_config(config).model
    plain.backbone.init_cfg = None
    keys = MODELS.build(plain).state_dict().keys()
    assert saved['state_dict'].keys() == keys


KEEP_WEIGHTS = """
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

class KeepWeights(Hook):

    def after_train(self, runner):
        torch.save(
            dict(runner.model.module.named_parameters()),
            f'{runner.work_dir}/rank{get_rank()}.pth')
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='about CPU processes')
def test_two_processes_agree(options_of, tmp_path):
    """A detector by dist_train.sh, each process with images of its own."""
    config = FRAMEWORKS['mask-rcnn'].config.format('st-star')
    (tmp_path / 'keep_weights.py').write_text(KEEP_WEIGHTS)
    mine, work = tmp_path / 'config.py', tmp_path / 'work'
    mine.write_text(f"""
_base_ = '{ROOT}/configs/{config}'
custom_hooks = _base_.custom_hooks + [dict(type='keep_weights.KeepWeights')]
""")
    output = run_process(
        *('bash', ROOT / 'tools/dist_train.sh', mine, 2, '--work-dir', work),
        *('--cfg-options', *options_of('mask-rcnn', 2)),
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
        PYTHONPATH=str(tmp_path),
    )
    assert 'subnet0_loss' in output
    first, second = (torch.load(work / f'rank{r}.pth') for r in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
