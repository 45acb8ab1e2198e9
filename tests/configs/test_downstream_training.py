"""The eight downstream frameworks train, validate and resume.

The real configs with ST*, shrunk as demo/downstream.py shrinks them, on
a few digit scenes in COCO's files and Cityscapes' layout.
"""

import math

import pytest
import torch

from tests.conftest import load_run, logged

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmpose')
# One of each toolbox; the others are slow to try.
USUAL = ('mask-rcnn', 'semantic-fpn', 'simple-baseline')
NAMES = [
    'faster-rcnn',
    'cascade-rcnn',
    'fcos',
    'atss',
    'mask-rcnn',
    'panoptic-fpn',
    'semantic-fpn',
    'simple-baseline',
]


@pytest.fixture
def options_of(load_tool, digit_scenes):
    """Options of the demo for two iterations on the few scenes."""
    demo = load_tool('demo/downstream')
    assert set(NAMES) == set(demo.FRAMEWORKS)

    def options_of(name: str, length: int) -> list:
        framework = demo.FRAMEWORKS[name]
        by_iter = name == 'semantic-fpn'
        options = {
            **demo.BACKBONE,
            **framework.options,
            'model.backbone.init_cfg': None,
            f'custom_hooks.{framework.sampler}.space': demo.SPACE,
            **framework.list_schedule(length * (1 + by_iter)),
            'train_cfg.val_interval': 1 + by_iter,
            'default_hooks.checkpoint.interval': 1 + by_iter,
            'default_hooks.logger.interval': 1,
            'train_dataloader.batch_size': 2,
            'randomness.seed': 0,
            **demo.both('num_workers', 0),
            **demo.both('persistent_workers', False),
        }
        if not by_iter:  # 2 iterations an epoch
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
        for name in NAMES
    ],
)
def test_trains_validates_and_resumes(
    name, options_of, load_tool, train, tmp_path
):
    if name == 'panoptic-fpn':
        pytest.importorskip('panopticapi')
    framework = load_tool('demo/downstream').FRAMEWORKS[name]
    config = 'configs/' + framework.config.format('st-star')
    for length in (1, 2):
        train(
            [
                config,
                '--work-dir',
                str(tmp_path),
                '--resume',
                '--cfg-options',
                *options_of(name, length),
            ]
        )
    lines = logged(tmp_path)
    steps = [r for r in lines if 'subnet0_loss' in r]
    assert [r['step'] for r in steps] == [1, 2, 3, 4]
    assert all(math.isfinite(r['loss']) for r in steps)
    assert all(
        r['loss']
        == pytest.approx(r['main_loss'] + r['subnet0_loss'], rel=1e-3)
        for r in steps
    )
    last = load_run((tmp_path / 'last_checkpoint').read_text())
    assert last['meta']['iter'] == 4
    # COCO's metric says nothing where nothing is detected.
    if name in ('semantic-fpn', 'simple-baseline', 'panoptic-fpn'):
        assert any(framework.metrics[0] in r for r in lines)


@pytest.mark.slow
def test_two_processes_agree(options_of, load_tool, train_twice):
    """Each with images of its own; Contract 5 for a detector."""
    framework = load_tool('demo/downstream').FRAMEWORKS['mask-rcnn']
    output, first, second = train_twice(
        framework.config.format('st-star'), *options_of('mask-rcnn', 2)
    )
    assert 'subnet0_loss' in output
    for name, parameter in first.items():
        assert torch.equal(parameter, second[name]), name
