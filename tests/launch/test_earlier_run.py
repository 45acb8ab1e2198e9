"""What an earlier training left: to resume from, or in the way."""

import shutil

import pytest
import torch
from mmengine.config import Config

from mmst.checkpoints.safe_load import DamagedCheckpointError
from mmst.launch.earlier_run import read_settings
from tests.conftest import load_run, logged, read_log


@pytest.fixture
def go_on(train, config):
    """Resume a work directory, for one more epoch unless told otherwise."""

    def go_on(folder, *options, epochs=2):
        train(
            [config, '--resume', '--no-validate', '--work-dir', folder]
            + ['--cfg-options', f'train_cfg.max_epochs={epochs}', *options]
        )
        return read_log(folder)

    return go_on


def test_changes_are_told(go_on, work_dir):
    log = go_on(
        work_dir,
        'train_dataloader.batch_size=1',
        'optim_wrapper.optimizer.lr=0.5',
    )
    for line in (
        f'Resumes from {work_dir}/epoch_1.pth (epoch 1, iteration 2)',
        '  train_dataloader.batch_size: 2 -> 1',
        '  train_cfg.max_epochs: 1 -> 2',
        '  optim_wrapper.optimizer.lr: 0.01 -> 0.5',
        'the change of optim_wrapper.optimizer.lr has no effect',
    ):
        assert line in log
    after = load_run(work_dir / 'epoch_2.pth')
    # MultiStepLR's first milestone: the checkpoint's rate, times 0.1.
    assert after['optimizer']['param_groups'][0]['initial_lr'] == 0.01


def test_nothing_is_left_to_train(go_on, work_dir, capsys):
    before = len(list(work_dir.glob('*/*.log')))
    go_on(work_dir, epochs=1)
    assert 'nothing left to train' in capsys.readouterr().out
    assert len(list(work_dir.glob('*/*.log'))) == before


def test_a_copy_resumes_from_its_own_checkpoint(go_on, trained, work_dir):
    noted = (work_dir / 'last_checkpoint').read_text()
    assert noted == str(trained / 'epoch_1.pth')
    own = load_run(work_dir / 'epoch_1.pth')
    own['meta']['iter'] = 7
    torch.save(own, work_dir / 'epoch_1.pth')
    assert 'iteration 7' in go_on(work_dir)


@pytest.mark.parametrize('note', [None, 'gone/epoch_9.pth'])
def test_without_a_note_the_latest_is_taken(go_on, work_dir, note):
    (work_dir / 'last_checkpoint').unlink()
    if note:
        (work_dir / 'last_checkpoint').write_text(note)
    assert 'epoch_1.pth (epoch 1, iteration 2)' in go_on(work_dir)


def test_damaged_checkpoints_name_the_one_before(go_on, work_dir):
    go_on(work_dir)
    shutil.copy(str(work_dir / 'epoch_2.pth'), str(work_dir / 'epoch_10.pth'))
    (work_dir / 'last_checkpoint').write_text('epoch_10.pth')
    for name in ('epoch_10.pth', 'epoch_2.pth'):
        whole = (work_dir / name).read_bytes()
        (work_dir / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DamagedCheckpointError,
        match=r'epoch_10.pth is cut short.*--resume .*epoch_1.pth$',
    ):
        go_on(work_dir, epochs=20)


def test_weights_alone_are_no_training(train, config, work_dir):
    path = work_dir / 'weights.pth'
    torch.save(load_run(work_dir / 'epoch_1.pth')['state_dict'], path)
    resume = [config, '--work-dir', work_dir, '--resume', path]
    with pytest.raises(ValueError, match='weights only.*load_from='):
        train(resume)
    with pytest.raises(FileNotFoundError, match='no.pth.*epoch_1.pth$'):
        train([*resume[:-1], work_dir / 'no.pth'])


def test_another_network_is_not_resumed(go_on, work_dir):
    with pytest.raises(ValueError, match='fills .*[^$]*Resuming needs'):
        go_on(work_dir, 'model.head.num_classes=3')


def test_a_new_training_in_an_old_folder(train, config, work_dir):
    before = logged(work_dir)
    train([config, '--no-validate', '--work-dir', work_dir])
    log = read_log(work_dir)
    warning = log.index('has checkpoints of an earlier training (epoch_1.pth)')
    assert warning < log.index('Epoch(train)')
    assert len(logged(work_dir)) > len(before)


def test_settings_are_read_as_they_were_written():
    written = dict(
        model=dict(type='A', heads=[dict(width=2), dict(width=3)]),
        sizes=[(1, 2), None, -0.5],
        data={'a b': dict(path=r'C:\x', text="it's ü"), 'c': True},
        empty=dict(),
    )
    assert read_settings(Config(written).pretty_text) == {
        'model.type': "'A'",
        'model.heads.0.width': '2',
        'model.heads.1.width': '3',
        'sizes': '[(1, 2), None, -0.5]',
        'data.a b.path': repr(r'C:\x'),
        'data.a b.text': repr("it's ü"),
        'data.c': 'True',
        'empty': '{}',
    }
    assert read_settings('import os; os.mkdir("x")') == {}
    assert read_settings('no config') == {}
