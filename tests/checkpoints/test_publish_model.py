"""What is published is what the run evaluated, and needs no mmst."""

import datetime
import hashlib
import re
import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmst.checkpoints import strip_checkpoint

from ..analysis.evaluation_by_hand import VALIDATION
from ..conftest import build_classifier, load_run, run_alone, write_images

assert_same = partial(torch.testing.assert_close, rtol=0, atol=0)


@HOOKS.register_module(force=True)
class KeepEvaluatedWeights(Hook):
    """Remembers the network that the last validation ran."""

    def after_val_iter(self, runner, *args, **kwargs):
        KeepEvaluatedWeights.weights = deepcopy(runner.model.state_dict())


@pytest.fixture
def publish(load_tool, tmp_path, capsys):

    def publish(source, name='model.pth', *flags):
        out = tmp_path / 'published' / name
        main = load_tool('tools/model_converters/publish_model').main
        run_alone(main)([source, out, *flags])
        (file,) = out.parent.glob(f'{out.stem}*')
        publish.printed = capsys.readouterr().out
        assert str(file) in publish.printed
        return file

    return publish


@pytest.mark.parametrize(
    'update_buffers', [False, True, pytest.param(None, marks=pytest.mark.slow)]
)
def test_evaluated_weights_are_published(
    tiny_runner, publish, tmp_path, update_buffers
):
    hooks = [dict(type='KeepEvaluatedWeights')]
    if update_buffers is not None:
        hooks.append(
            dict(type='EMAHook', momentum=0.3, update_buffers=update_buffers)
        )
    sampler = dict(num_subnets=2)
    tiny_runner(sampler=sampler, hooks=hooks, **VALIDATION).train()
    source = tmp_path / 'run' / 'epoch_2.pth'
    with warnings.catch_warnings():
        warnings.filterwarnings('error', '.*BatchNorm')
        file = torch.load(publish(source), weights_only=True)
    assert_same(file['state_dict'], KeepEvaluatedWeights.weights)
    assert file.keys() == {'state_dict', 'meta'}
    plain = build_classifier(st=False).state_dict()
    assert file['state_dict'].keys() == plain.keys()
    assert file['meta'] == dict(dataset_meta=dict(classes=list('abcd')))
    before = load_run(source)
    assert {'optimizer', 'param_schedulers', 'message_hub'} < before.keys()
    if update_buffers is not None:
        twin = before['ema_state_dict']['module.head.fc.weight']
        assert not torch.equal(twin, file['state_dict']['head.fc.weight'])


def test_statistics_that_the_average_missed_are_told(publish, tmp_path):
    """PreciseBNHook, say, between EMAHook and the checkpoint."""
    key = 'backbone.bn1.running_mean'
    checkpoint = dict(
        state_dict={key: torch.zeros(2)},
        meta=dict(cfg='EMAHook'),
        ema_state_dict={f'module.{key}': torch.ones(2)},
    )
    with pytest.warns(UserWarning, match=f'1 BatchNorm statistics.*{key}'):
        file = strip_checkpoint(checkpoint)
    assert_same(file['state_dict'], {key: torch.zeros(2)})


def test_calibrated_weights_give_right_scores(
    publish, config, trained, tmp_path
):
    """One factor scales the last layer alone; fitted again, it is one."""
    names = [f'{label}/{index}.png' for label in 'ab' for index in range(6)]
    write_images(tmp_path / 'train', names)
    source = load_run(trained / 'epoch_1.pth')['state_dict']
    source['head.fc.weight'] *= 30
    torch.save(dict(state_dict=source), tmp_path / 'run.pth')

    def calibrate(checkpoint, name):
        flags = '--calibrate', config, '--num-samples', 12, '--cfg-options'
        data = f'train_dataloader.dataset.data_root={tmp_path}'
        file = publish(checkpoint, name, *flags, data)
        return file, float(re.search('ture (.*) into', publish.printed)[1])

    file, temperature = calibrate(tmp_path / 'run.pth', 'once.pth')
    assert abs(temperature - 1) > 0.1
    weights = torch.load(file, weights_only=True)['state_dict']
    for key in ('head.fc.weight', 'head.fc.bias'):
        source[key] /= temperature
    torch.testing.assert_close(weights, source, rtol=1e-3, atol=0)
    assert calibrate(file, 'twice.pth')[1] == pytest.approx(1, abs=1e-3)


def test_name_carries_the_hash_of_the_file(publish, tmp_path):
    weights = torch.arange(12.0).reshape(3, 4)
    # The same weights, otherwise laid out.
    other = torch.nn.Parameter(weights.t().contiguous().t())
    torch.save(dict(state_dict=dict(w=weights)), tmp_path / 'a.pth')
    torch.save(dict(state_dict=dict(w=other)), tmp_path / 'b.pth')
    a, b = (
        publish(tmp_path / f'{name}.pth', f'{name}_v1.5.pth') for name in 'ab'
    )
    digest = hashlib.sha256(a.read_bytes()).hexdigest()
    assert a.name == f'a_v1.5-{digest[:8]}.pth'
    assert b.read_bytes() == a.read_bytes()


def test_views_do_not_bring_their_whole_storage():
    whole = torch.zeros(1000)
    file = strip_checkpoint(dict(state_dict=dict(w=whole[:2])))
    assert file['state_dict']['w'].untyped_storage().nbytes() == 8


def test_meta_becomes_plain(publish, tmp_path):
    values = dict(
        classes=(('cat', 'dog'), ('cat', 'dog')),
        palette=(np.array([[1, 2], [4, 5]], np.uint8), [[1, 2], [4, 5]]),
        sigmas=(np.array([0.5]), [0.5]),
        names=({np.int64(0): 'nose'}, {0: 'nose'}),
        skeleton=([(np.int64(0), 1)], [(0, 1)]),
        root=(Path('a/b'), 'a/b'),
        frames=(range(3), [0, 1, 2]),
        day=(datetime.date(2026, 1, 2), '2026-01-02'),
        none=(None, None),
    )
    meta = {name: given for name, (given, _) in values.items()}
    meta = dict(meta, unknown=KeepEvaluatedWeights())
    run = dict(
        state_dict=dict(w=torch.ones(1)),
        meta=dict(cfg='/home', dataset_meta=meta),
    )
    torch.save(run, tmp_path / 'run.pth')
    with pytest.warns(UserWarning, match=r"\['unknown'\] is not published"):
        file = publish(tmp_path / 'run.pth')
    assert torch.load(file, weights_only=True)['meta'] == dict(
        dataset_meta={name: plain for name, (_, plain) in values.items()}
    )


@pytest.mark.parametrize(
    'checkpoint',
    [
        dict(w=torch.ones(1)),
        dict(state_dict={}),
        dict(state_dict=dict(w=torch.ones(1), extra='x')),
    ],
)
def test_what_is_no_run_checkpoint_is_refused(publish, checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match="in 'state_dict'.*Its entries"):
        publish(tmp_path / 'x.pth')
    assert not (tmp_path / 'published').exists()
