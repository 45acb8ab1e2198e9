"""A trained checkpoint in its runner: what takes part, what is refused."""

import pytest
import torch
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend

from mmst.analysis.loafing import measure_loafing
from mmst.evaluation import evaluate_subnet
from mmst.launch.trained_runner import load_trained_runner
from tests.analysis.evaluation_by_hand import NUM_TRAIN, by_hand
from tests.conftest import classifier, forget_earlier_runs, load_run


@pytest.mark.parametrize(
    'hooks',
    [
        dict(hooks=[dict(type='EMAHook')]),
        dict(
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook', save_best='accuracy/top1'
                )
            )
        ),
    ],
)
def test_hooks_of_the_training_take_no_part(trained, tmp_path, hooks):
    _, config, checkpoint = trained(**hooks)
    forget_earlier_runs()  # as in a process of its own
    loaded = load_trained_runner(config, checkpoint, tmp_path / 'out')
    weights = load_run(checkpoint)['state_dict']
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, weights[key]), key
    scores = measure_loafing(loaded, 'mean_score')[1]
    assert list(scores) == ['main', '1-1-1', '2-2-2', '3-3-3']
    assert scores['main'] == pytest.approx(
        by_hand(loaded.model, None, NUM_TRAIN)[1], rel=1e-4
    )
    assert not list((tmp_path / 'out').rglob('*.pth'))


@VISBACKENDS.register_module()
class TrackingService(BaseVisBackend):
    """Opens a page for each run that uses it."""

    pages = []

    def __init__(self, save_dir):
        super().__init__(save_dir)
        self.pages.append(save_dir)

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return self


def test_no_page_is_opened_for_an_analysis(trained, tmp_path):
    _, config, checkpoint = trained(
        visualizer=dict(
            type='UniversalVisualizer',
            vis_backends=[dict(type='TrackingService')],
        )
    )
    assert len(TrackingService.pages) == 1
    forget_earlier_runs()
    load_trained_runner(config, checkpoint, tmp_path / 'out')
    assert len(TrackingService.pages) == 1


def test_a_checkpoint_gives_the_same_numbers_each_time(trained, tmp_path):
    """Of a config without a seed too; one that it has is kept."""
    _, config, checkpoint = trained()
    for given, expected in ((None, 0), (7, 7)):
        forget_earlier_runs()
        loaded = load_trained_runner(
            config,
            checkpoint,
            tmp_path / 'out',
            dict(randomness=dict(seed=given)),
        )
        assert loaded.seed == expected


def test_no_validation(trained, tmp_path):
    _, config, checkpoint = trained(
        val_dataloader=None, val_evaluator=None, val_cfg=None
    )
    loaded = load_trained_runner(config, checkpoint, tmp_path / 'out')
    with pytest.raises(ValueError, match='no validation: set .*val_cfg'):
        evaluate_subnet(loaded)


def test_no_training_images(trained, tmp_path):
    """They are needed for BatchNorm alone."""
    _, config, checkpoint = trained()
    none = dict(
        train_dataloader=None,
        train_cfg=None,
        optim_wrapper=None,
        param_scheduler=None,
    )
    loaded = load_trained_runner(config, checkpoint, tmp_path / 'out', none)
    assert evaluate_subnet(loaded)
    with pytest.raises(ValueError, match='set train_dataloader'):
        evaluate_subnet(loaded, (1, 1, 1))
    for module in loaded.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    assert evaluate_subnet(loaded, (1, 1, 1))


class Call:
    """Calls what a checkpoint should not."""

    def __reduce__(self):
        return print, ('a harmful thing',)


def test_another_network_is_refused_and_no_code_is_run(
    trained, tmp_path, capsys
):
    _, config, checkpoint = trained()
    with pytest.raises(
        ValueError, match=r'layer1\.3\.conv1\.weight.*\n.* not the config'
    ):
        load_trained_runner(
            config,
            checkpoint,
            tmp_path / 'out',
            dict(model=classifier(depth=32)),
        )
    weights = load_run(checkpoint)['state_dict']
    torch.save(dict(state_dict=weights, x=Call()), tmp_path / 'bad.pth')
    forget_earlier_runs()
    load_trained_runner(config, str(tmp_path / 'bad.pth'), tmp_path / 'out')
    assert 'a harmful thing' not in capsys.readouterr().out


def test_unknown_toolbox(trained, tmp_path):
    _, config, checkpoint = trained()
    with pytest.raises(ValueError, match="default_scope = 'mmnone'"):
        load_trained_runner(
            config, checkpoint, tmp_path / 'out', dict(default_scope='mmnone')
        )
