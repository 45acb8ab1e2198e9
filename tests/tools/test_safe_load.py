"""Checkpoints cannot run code; those of our own runs load."""

import datetime
import os
import warnings
import zipfile
from array import array
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from mmst.checkpoints.safe_load import (
    DamagedCheckpointError,
    Placeholder,
    UnsafeCheckpointError,
    safe_load,
)
from tests.conftest import Payload, load_run


@pytest.fixture
def malicious(tmp_path, trained):
    """A checkpoint that would make a folder, and the folder."""
    trace = tmp_path / 'was_here'
    checkpoint = load_run(trained / 'epoch_1.pth')
    checkpoint['meta']['extra'] = Payload(os.mkdir, str(trace))
    path = tmp_path / 'malicious.pth'
    torch.save(checkpoint, path)
    return path, trace


def test_weights_are_read_without_code(
    train, test, config, malicious, tmp_path
):
    path, trace = malicious
    out = ['--work-dir', tmp_path]
    test([config, path, *out])
    options = ['--cfg-options', f'load_from={path}']
    options += ['model.init_cfg.type=Pretrained']
    train([config, *out, *options, f'model.init_cfg.checkpoint={path}'])
    assert not trace.exists()
    load_run(path)
    assert trace.exists()  # the payload does work


def test_resuming_needs_trust(train, config, malicious, tmp_path):
    path, trace = malicious
    (tmp_path / 'last_checkpoint').write_text(str(path))
    resume = [config, '--resume', '--work-dir', tmp_path]
    resume += ['--cfg-options', 'train_cfg.max_epochs=2']
    with pytest.raises(
        UnsafeCheckpointError, match='malicious.pth.*mkdir.*--trust-checkpoint'
    ):
        train(resume)
    assert not trace.exists()
    train([*resume, '--trust-checkpoint'])
    assert trace.exists()
    assert load_run(tmp_path / 'epoch_2.pth')['meta']['iter'] == 4


def test_config_in_the_meta_is_not_run(train, config, trained, tmp_path):
    """MMEngine would read it as a config file, which is Python.

    Training goes on from a path; the message hub comes along.
    """
    before, trace = load_run(trained / 'epoch_1.pth'), tmp_path / 'trace'
    before['meta']['config'] = f'import os; os.mkdir({str(trace)!r})'
    torch.save(before, tmp_path / 'x.pth')
    resume = [config, '--resume', tmp_path / 'x.pth', '--no-validate']
    train(
        [*resume, '--work-dir', tmp_path]
        + ['--cfg-options', 'train_cfg.max_epochs=2']
    )
    after = load_run(tmp_path / 'epoch_2.pth')
    assert after['meta']['iter'] == 4 and not trace.exists()
    first, both = (
        [*checkpoint['message_hub']['log_scalars']['train/loss'].data[0]]
        for checkpoint in (before, after)
    )
    assert both[:2] == first and len(both) == 4


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
        path=Path('a/b'),
        span=range(2, 9, 3),
        day=datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
        lists=defaultdict(list, a=[1]),
        numbers=array('f', [1.5]),
        anneal=OneCycleParamScheduler._annealing_cos,
    )
    torch.save(values, tmp_path / 'x.pth')
    with safe_load('refuse'):
        loaded = torch.load(tmp_path / 'x.pth')
    assert loaded['lists']['b'] == []
    values['lists']['b'] = []
    assert loaded['buffer'].mean() == 1.5
    assert loaded['half'].dtype is torch.bfloat16
    for key in values.keys() - {'buffer', 'half', 'names'}:
        assert loaded[key] == values[key]
    assert loaded['names'].tolist() == ['a', 'b']


@pytest.mark.parametrize(
    'function',
    [os.system, eval, getattr, torch.storage._load_from_bytes, np.load],
)
@pytest.mark.parametrize('zipped', [True, False])
def test_functions_are_not_called(tmp_path, function, zipped):
    """In both file formats."""
    values = dict(weight=torch.ones(2), x=Payload(function, 'x', 'y'))
    options = dict(_use_new_zipfile_serialization=zipped)
    torch.save(values, tmp_path / 'x.pth', **options)
    with safe_load('refuse'), pytest.raises(UnsafeCheckpointError):
        torch.load(tmp_path / 'x.pth', weights_only=False)
    with safe_load():
        loaded = torch.load(tmp_path / 'x.pth')
    assert loaded['weight'].tolist() == [1, 1]
    found = loaded['x']
    assert Placeholder in (type(found).__mro__ + getattr(found, '__mro__', ()))


class Unknown(dict):
    """Has state, items and a method that is pickled by name."""

    def method(self):
        pass


class UnknownList(list):
    pass


def test_placeholders_hold_nothing(tmp_path, capfd):
    one = Unknown(a=1)
    one.x = Unknown.method
    values = dict(weight=torch.ones(2), x=[one, UnknownList([3])])
    torch.save(values, tmp_path / 'x.pth')
    with safe_load():
        loaded = torch.load(tmp_path / 'x.pth')
    assert loaded['weight'].tolist() == [1, 1]
    kinds = [type(entry) for entry in loaded['x']]
    assert all(issubclass(kind, Placeholder) for kind in kinds)
    assert kinds[0].__name__ == 'Unknown'
    assert kinds[0].__module__ == __name__ and kinds[0] is not Unknown
    assert [vars(entry) for entry in loaded['x']] == [{}] * 2
    told = ''.join(capfd.readouterr())
    assert f'{__name__}.Unknown, {__name__}.UnknownList. Nothing' in told


def test_allowed_classes_cannot_be_changed(tmp_path):
    change = (
        b'\x80\x02cmmengine.logging.history_buffer\nHistoryBuffer\n'
        b'N}U\x04meanNs\x86b.'
    )
    torch.save({}, tmp_path / 'whole.pth')
    path = tmp_path / 'x.pth'
    with zipfile.ZipFile(tmp_path / 'whole.pth') as whole, zipfile.ZipFile(
        path, 'w'
    ) as archive:
        for name in whole.namelist():
            is_pickle = name.endswith('data.pkl')
            archive.writestr(name, change if is_pickle else whole.read(name))
    for unknown in ('refuse', 'replace'):
        with safe_load(unknown), pytest.raises(
            UnsafeCheckpointError, match='changing'
        ):
            torch.load(path)
    assert HistoryBuffer.mean is not None


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / 'script.pt'
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))
    with safe_load(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(UnsafeCheckpointError, match='TorchScript'):
            torch.load(path)


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda whole: b'', r'is empty \(0 bytes\)'),
        (lambda whole: whole[:-50], 'is cut short: .* after'),
        (lambda whole: whole[: len(whole) // 2], 'is cut short'),
        (lambda whole: b'not a checkpoint', 'is no checkpoint, or a damaged'),
        (lambda whole: bytes(range(256)) * 9, 'is no checkpoint, or a dam'),
        (lambda whole: whole.replace(b'weight', b'w\xffight'), 'is damaged: '),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path, damage, message):
    path = tmp_path / 'x.pth'
    torch.save(dict(weight=torch.ones(99)), path)
    path.write_bytes(damage(path.read_bytes()))
    for unknown in ('refuse', 'replace', 'run'):
        with safe_load(unknown), pytest.raises(
            DamagedCheckpointError, match=f'x.pth {message}'
        ):
            torch.load(path)


def test_torch_load_comes_back():
    before = torch.load
    with pytest.raises(KeyError):
        with safe_load():
            raise KeyError
    assert torch.load is before
