"""Checkpoints cannot run code; those of our own runs load."""

import os
import pickle
import warnings
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmst.checkpoints.safe_load import UnsafeCheckpointError, safe_load
from tests.conftest import load_run


class Payload:
    """What unpickles to a call of ``function(*args)``."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def malicious(tmp_path, trained):
    """A checkpoint that would make a folder, and the folder."""
    trace = tmp_path / 'was_here'
    checkpoint = load_run(trained / 'epoch_1.pth')
    checkpoint['meta']['extra'] = Payload(os.mkdir, str(trace))
    path = tmp_path / 'malicious.pth'
    torch.save(checkpoint, path)
    return path, trace


def test_the_payload_works(malicious):
    path, trace = malicious
    load_run(path)
    assert trace.exists()


@pytest.mark.parametrize(
    'way', ['test', 'resume', 'auto', 'load_from', 'init_cfg']
)
def test_tools_refuse_code(way, train, test, config, malicious, tmp_path):
    path, trace = malicious
    out = ['--work-dir', str(tmp_path)]
    with pytest.raises(UnsafeCheckpointError, match=r'malicious.pth.*mkdir'):
        if way == 'test':
            test([config, str(path), *out])
        elif way == 'resume':
            train([config, '--resume', str(path), *out])
        elif way == 'auto':
            (tmp_path / 'last_checkpoint').write_text(str(path))
            train([config, '--resume', *out])
        elif way == 'load_from':
            train([config, '--cfg-options', f'load_from={path}', *out])
        else:
            train(
                [
                    config,
                    '--cfg-options',
                    'model.init_cfg.type=Pretrained',
                    f'model.init_cfg.checkpoint={path}',
                    *out,
                ]
            )
    assert not trace.exists()


@pytest.mark.parametrize('zipped', [True, False])
def test_both_file_formats(tmp_path, zipped):
    path, trace = tmp_path / 'x.pth', tmp_path / 'was_here'
    plain = dict(weight=torch.ones(2), name='x')
    torch.save(plain, path, _use_new_zipfile_serialization=zipped)
    with safe_load():
        assert torch.load(path)['weight'].tolist() == [1, 1]
    torch.save(
        Payload(os.mkdir, str(trace)),
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with safe_load(), pytest.raises(UnsafeCheckpointError):
        torch.load(path, weights_only=False)
    assert not trace.exists()


def test_plain_values_load(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    values = dict(
        buffer=buffer,
        milestones=Counter([1, 3]),
        empty=b'',
        raw=b'\xff',
        number=np.float32(2),
        names=np.array(['a', 'b']),
        kind=torch.int64,
        half=torch.ones(2, dtype=torch.bfloat16),
        classes={'a'},
        parameter=torch.nn.Parameter(torch.ones(1)),
        device=torch.device(0),
    )
    torch.save(values, tmp_path / 'x.pth')
    with safe_load():
        loaded = torch.load(tmp_path / 'x.pth')
    assert loaded['buffer'].mean() == 1.5
    assert loaded['half'].dtype is torch.bfloat16
    for key in values.keys() - {'buffer', 'half', 'names'}:
        assert loaded[key] == values[key]
    assert loaded['names'].tolist() == ['a', 'b']


@pytest.mark.parametrize(
    'function',
    [
        os.system,
        eval,
        print,
        getattr,
        torch.load,
        torch.storage._load_from_bytes,
        np.load,
    ],
)
def test_functions_are_refused(tmp_path, function):
    torch.save(Payload(function, 'x', 'y'), tmp_path / 'x.pth')
    with safe_load(), pytest.raises(UnsafeCheckpointError):
        torch.load(tmp_path / 'x.pth')


def test_allowed_classes_cannot_be_changed(tmp_path):
    change = (
        b'\x80\x02cmmengine.logging.history_buffer\nHistoryBuffer\n'
        b'N}U\x04meanNs\x86b.'
    )
    path = tmp_path / 'x.pth'
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in records.items():
            archive.writestr(
                name, change if name.endswith('data.pkl') else data
            )
    with safe_load(), pytest.raises(UnsafeCheckpointError, match='changing'):
        torch.load(path)
    assert HistoryBuffer.mean is not None


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / 'script.pt'
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))
    with safe_load(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(UnsafeCheckpointError, match='TorchScript'):
            torch.load(path)


def test_damaged_file_is_not_called_unsafe(tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'not a checkpoint')
    with safe_load(), pytest.raises(pickle.UnpicklingError, match='damaged'):
        torch.load(path)


def test_torch_load_comes_back():
    before = torch.load
    with pytest.raises(KeyError):
        with safe_load():
            raise KeyError
    assert torch.load is before
