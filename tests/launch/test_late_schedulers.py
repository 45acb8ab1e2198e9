"""A run may be shorter than the warm-up of its recipe."""

import pytest

from mmst.launch.configured_runner import load_config
from tests.conftest import ROOT


@pytest.mark.parametrize('epochs, kinds', [(2, 1), (3, 2)])
def test_demo_of_few_epochs(load_tool, tiny_runner, capsys, epochs, kinds):
    args = load_tool('tools/train').parse_args(
        [str(ROOT / 'configs/demo/resnet20_ct_mnistm5k.py')]
        + ['--cfg-options', f'train_cfg.max_epochs={epochs}']
    )
    schedulers = load_config(args).param_scheduler
    assert len(schedulers) == kinds
    told = (
        'CosineAnnealingLR of param_scheduler is left out'
        in capsys.readouterr().out
    )
    assert told is (kinds == 1)
    runner = tiny_runner(
        sampler=dict(), max_epochs=epochs, param_scheduler=schedulers
    )
    runner.train()
    assert runner.epoch == epochs
