"""Random numbers from (seed, iteration, rank) alone."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop

from mmst.engine.hooks import reseed_hook
from mmst.engine.hooks.reseed_hook import ReseedHook
from tests.analysis.evaluation_by_hand import loader


def draw(monkeypatch, point, iteration, seed=0, rank=0):
    """What is drawn once the hook has been at one of its points."""
    monkeypatch.setattr(reseed_hook, 'get_rank', lambda: rank)
    torch.rand(3)  # whatever was drawn before has no part in it
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    runner = SimpleNamespace(seed=seed, iter=iteration, _train_loop=loop)
    args = (0,) if point == 'after_train_iter' else ()
    getattr(ReseedHook(), point)(runner, *args)
    return torch.rand(()).item()


def test_all_points_seed_the_coming_iteration_alike(monkeypatch):
    """Validated or not, resumed or not: iteration 5 draws the same."""
    drawn = {
        draw(monkeypatch, 'before_train_epoch', 5),
        draw(monkeypatch, 'after_train_iter', 4),
        draw(monkeypatch, 'after_val_epoch', 5),
    }
    assert len(drawn) == 1


@pytest.mark.parametrize('what', ['iteration', 'seed', 'rank'])
def test_draws_differ(monkeypatch, what):
    options = [dict(dict(iteration=5), **{what: n}) for n in range(100)]
    drawn = {draw(monkeypatch, 'before_train_epoch', **o) for o in options}
    assert len(drawn) == 100


def test_validation_by_itself_needs_no_training_images(tiny_runner):
    runner = tiny_runner(
        hooks=[dict(type='mmst.ReseedHook')],
        train_dataloader=dict(batch_size=4, dataset=dict(type='NotThere')),
        val_dataloader=loader(4, 12),
        val_evaluator=dict(type='Accuracy'),
        val_cfg=dict(),
    )
    assert 'accuracy/top1' in runner.val()
