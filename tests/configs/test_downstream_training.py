"""The eight downstream frameworks train, validate and resume.

The real configs with ST*, shrunk as demo/downstream.py shrinks them, on
a few digit scenes in COCO's files and Cityscapes' layout.
"""

import math
from runpy import run_path

import pytest

from tests.conftest import ROOT, load_run, logged

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
            [config, '--work-dir', str(tmp_path), '--resume']
            + ['--cfg-options', *options]
        )
    lines = logged(tmp_path)
    steps = [r for r in lines if 'subnet0_loss' in r]
    assert [r['step'] for r in steps] == [1, 2, 3, 4]
    for record in steps:
        assert math.isfinite(record['loss'])
        assert record['loss'] == pytest.approx(
            record['main_loss'] + record['subnet0_loss'], rel=1e-3
        )
    last = load_run((tmp_path / 'last_checkpoint').read_text())
    assert last['meta']['iter'] == 4
    # COCO's metric says nothing where nothing is detected.
    if name in ('semantic-fpn', 'simple-baseline', 'panoptic-fpn'):
        assert any(framework.metrics[0] in r for r in lines)


@pytest.mark.slow
def test_two_processes_agree(options_of, train_on_two):
    """A detector, each process with images of its own."""
    config = FRAMEWORKS['mask-rcnn'].config.format('st-star')
    output = train_on_two(config, *options_of('mask-rcnn', 2))
    assert 'subnet0_loss' in output
