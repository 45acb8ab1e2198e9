"""Contract 17: one iteration is read in at most 12 files of mmst."""

import sys
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

import mmst
from tests.conftest import classifier
from tests.engine.dense_tasks import runner_options

ROOT = Path(mmst.__file__).parent


def trace(runner):
    """The files of mmst that the second iteration enters.

    And their functions that it calls.
    """
    files, functions = set(), set()

    def enter(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == 'call' and ROOT in path.parents:
            files.add(str(path.relative_to(ROOT)))
            functions.add(frame.f_code.co_name)

    run_iter = runner.train_loop.run_iter

    def run_traced(*args):
        sys.setprofile(enter if runner.iter == 1 else None)
        try:
            run_iter(*args)
        finally:
            sys.setprofile(None)

    runner.train_loop.run_iter = run_traced
    runner.train()
    return files, functions


def check(runner, expected):
    """A whole iteration enters 12 files at most, the expected among them."""
    files, functions = trace(runner)
    assert len(files) <= 12, sorted(files)
    assert {'st_step', 'draw', 'plan', 'backward', 'make'} <= functions
    assert expected <= files


def test_classifier(tiny_runner):
    """Two subnets on one small size, which share, and one without."""
    runner = tiny_runner(
        model=classifier(normalize_main=True),
        sampler=dict(num_subnets=3, size_range=(0.5, 0.9), interval=6),
        max_epochs=1,
    )
    check(runner, {'models/st_cls_head.py', 'subnets/kl_minus_loss.py'})


def test_detector(tiny_runner):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv.ops')
    init_default_scope('mmdet')
    runner = tiny_runner(
        sampler=dict(num_subnets=2, size_range=(0.6, 0.9), interval=6),
        **runner_options('two_stage'),
    )
    check(runner, {'targets/detection.py'})


def test_iteration_without_subnets_is_a_plain_one(tiny_runner):
    """Nothing of the step is entered."""
    files, _ = trace(tiny_runner(sampler=dict(begin=1)))
    assert 'engine/loops.py' in files and 'subnets/sampling.py' in files
    assert not files & {'engine/step.py', 'subnets/shared_prefix.py'}
