"""A trained checkpoint in its runner: what takes part, what is refused."""

import pytest
import torch
from mmengine.hooks import CheckpointHook, EMAHook

from mmst.evaluation import evaluate_subnet
from mmst.launch.trained_runner import load_trained_runner
from tests.conftest import Payload, forget_earlier_runs, load_run

DEPTHS = (1, 1, 1, 1)


@pytest.fixture
def load_again(config, trained, tmp_path):
    """Load the network as trained, with changes to its config."""

    def load_again(checkpoint=trained / 'epoch_1.pth', **options):
        forget_earlier_runs()  # as in a process of its own
        return load_trained_runner(
            config, str(checkpoint), tmp_path / 'out', options
        )

    return load_again


def test_hooks_of_the_training_take_no_part(load_again, trained, tmp_path):
    saver = dict(type='CheckpointHook', save_best='accuracy/top1')
    hooks = [dict(type='EMAHook')]
    loaded = load_again(
        custom_hooks=hooks, default_hooks=dict(checkpoint=saver)
    )
    kinds = EMAHook, CheckpointHook
    assert not any(isinstance(hook, kinds) for hook in loaded.hooks)
    assert evaluate_subnet(loaded)
    weights = load_run(trained / 'epoch_1.pth')['state_dict']
    torch.testing.assert_close(
        loaded.model.state_dict(), weights, rtol=0, atol=0
    )
    assert not list((tmp_path / 'out').rglob('*.pth'))


def test_no_page_of_a_tracking_service_is_opened(load_again):
    """No such backend is built: this one's name is not even known."""
    load_again(visualizer=dict(vis_backends=[dict(type='TrackingService')]))


@pytest.mark.parametrize('given, expected', [(None, 0), (7, 7)])
def test_results_are_the_same_each_time(load_again, given, expected):
    """A config needs no seed for that; one that it has is kept."""
    assert load_again(randomness=dict(seed=given)).seed == expected


def test_no_validation(load_again):
    none = dict(val_dataloader=None, val_evaluator=None, val_cfg=None)
    with pytest.raises(ValueError, match='no validation: set .*val_cfg'):
        evaluate_subnet(load_again(**none))


def test_no_training_images(load_again):
    """They are needed for BatchNorm alone."""
    none = dict(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    loaded = load_again(**none, param_scheduler=None)
    assert evaluate_subnet(loaded)
    with pytest.raises(ValueError, match='set train_dataloader'):
        evaluate_subnet(loaded, DEPTHS)
    for module in loaded.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    assert evaluate_subnet(loaded, DEPTHS)


def test_no_code_is_run(load_again, trained, tmp_path, capsys):
    weights = load_run(trained / 'epoch_1.pth')['state_dict']
    checkpoint = dict(state_dict=weights, x=Payload(print, 'a harmful thing'))
    torch.save(checkpoint, tmp_path / 'bad.pth')
    load_again(checkpoint=tmp_path / 'bad.pth')
    assert 'a harmful thing' not in capsys.readouterr().out


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(model=dict(backbone=dict(depth=34))),
            r'layer1\.2\.conv1\.weight.*\n.* not the config',
        ),
        (dict(default_scope='mmnone'), "default_scope = 'mmnone'"),
    ],
)
def test_another_network_and_an_unknown_toolbox(load_again, options, message):
    with pytest.raises(ValueError, match=message):
        load_again(**options)
