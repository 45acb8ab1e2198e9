"""The converter as a command: files in, files out."""

import os
from argparse import Namespace

import pytest
import torch
from torch.testing import assert_close

from mmst.checkpoints import convert_resnet, write_checkpoint
from tests.conftest import Payload, load_run


@pytest.fixture
def convert(load_tool):
    return load_tool('tools/model_converters/resnet_to_mmpretrain').main


@pytest.fixture
def save(tmp_path):

    def save(content):
        torch.save(content, tmp_path / 'in.pth')
        return str(tmp_path / 'in.pth'), str(tmp_path / 'new' / 'out.pth')

    return save


def named(prefix, weights, **more):
    return {**{f'{prefix}{k}': v for k, v in weights.items()}, **more}


def write_torchvision(weights):
    """Write a file as torchvision's trainer does with --model-ema."""
    return dict(
        model=weights,
        optimizer=dict(state={}, param_groups=[]),
        args=Namespace(lr=0.1, opt='sgd', device='cuda', milestones=[30]),
        epoch=3,
        model_ema=named('module.', weights, n_averaged=torch.tensor(7)),
    )


def write_timm(weights):
    """Write a file as timm's CheckpointSaver does."""
    return dict(
        epoch=3,
        arch='resnet50',
        state_dict=weights,
        optimizer=dict(state={}, param_groups=[]),
        version=2,
        args=Namespace(model='resnet50', mean=None, opt_betas=[0.9, 0.99]),
        state_dict_ema=weights,
        metric=71.5,
    )


def write_lightning(weights):
    return dict(
        epoch=3,
        global_step=12,
        state_dict=named('model.', weights),
        hyper_parameters=dict(lr=0.1),
        callbacks={'ModelCheckpoint': dict(best_model_score=torch.ones(()))},
        loops=dict(fit_loop=dict(state_dict={})),
    )


@pytest.mark.parametrize(
    'write, entry',
    [
        (lambda weights: weights, None),
        (lambda weights: named('module.', weights), None),
        (lambda weights: dict(state_dict=weights, meta=dict(a=1)), None),
        (write_torchvision, 'model'),
        (write_torchvision, 'model_ema'),
        (write_timm, 'state_dict_ema'),
        (write_lightning, None),
    ],
)
def test_files_of_other_trainers(convert, save, released, write, entry):
    source, out = save(write(released.state_dict()))
    convert([source, out, *(['--entry', entry] if entry else [])])
    file = torch.load(out, weights_only=True)
    assert file.keys() == {'state_dict', 'meta'} and file['meta'] == {}
    expected = convert_resnet(released.state_dict())
    assert_close(file['state_dict'], expected, rtol=0, atol=0)


def test_safetensors(convert, released, tmp_path):
    files = pytest.importorskip('safetensors.torch')
    source, out = str(tmp_path / 'in.safetensors'), str(tmp_path / 'out.pth')
    files.save_file(released.state_dict(), source)
    convert([source, out])
    saved = torch.load(out, weights_only=True)['state_dict']
    assert saved.keys() == convert_resnet(released.state_dict()).keys()


def test_one_of_several_weights_is_chosen(convert, save, released):
    weights = released.state_dict()
    source, out = save(
        dict(
            state_dict=weights,
            state_dict_ema={key: value + 1 for key, value in weights.items()},
        )
    )
    with pytest.raises(ValueError, match=r"state_dict_ema'\].*--entry"):
        convert([source, out])
    convert([source, out, '--entry', 'state_dict_ema', '--backbone-only'])
    saved = torch.load(out)['state_dict']
    assert all(key.startswith('backbone.') for key in saved)
    first = saved['backbone.conv1.weight']
    assert torch.equal(first, weights['features.0.0.weight'] + 1)


def test_code_is_not_run(convert, save, released, tmp_path):
    trace = tmp_path / 'was_here'
    payload = Payload(os.mkdir, str(trace))
    source, out = save(dict(model=released.state_dict(), x=payload))
    convert([source, out])
    assert not trace.exists() and os.path.exists(out)
    load_run(source)
    assert trace.exists()  # the payload does work


@pytest.mark.parametrize(
    'content, message',
    [
        ([1], 'holds a list'),
        (
            dict(epoch=1),
            r"but has none; its entries are \['epoch'\]. .*--entry",
        ),
        (dict(state_dict={'conv1.weight': 1}), 'has none'),
        (dict(state_dict={}), 'has none'),
    ],
)
def test_files_without_weights(convert, save, content, message):
    source, out = save(content)
    with pytest.raises(ValueError, match=message):
        convert([source, out])
    assert not os.path.exists(out)


def test_in_and_out_differ(convert, save, released):
    source, _ = save(released.state_dict())
    with pytest.raises(ValueError, match='overwrite'):
        convert([source, source])
    assert torch.load(source).keys() == released.state_dict().keys()


def test_what_was_there_outlives_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / 'out.pth'
    path.write_text('old')

    def fill_the_disk(content, file):
        file.write(b'half')
        raise OSError('no space left')

    monkeypatch.setattr(torch, 'save', fill_the_disk)
    with pytest.raises(OSError):
        write_checkpoint({}, path)
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['out.pth']
