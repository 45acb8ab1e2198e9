"""Several processes, on a machine without an accelerator too."""

import json
import os
import shutil
import socket
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmst.launch import process_group
from mmst.launch.process_group import prepare_launch
from tests.conftest import ROOT, load_run
from tests.environments import run_process, write_echo


def run(script: str, *args: str, **options) -> str:
    """Run a launch script with this Python, and give what it prints."""
    options = {'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', **options}
    return run_process('bash', ROOT / 'tools' / script, *args, **options)


@pytest.mark.parametrize('script', ['quickstart', 'run_tests', 'install'])
def test_help_does_nothing(script, tmp_path):
    for flags in (['--help'], ['-h'], ['--stack', 'onedl', '--help']):
        bare = dict(env=dict(PATH='/usr/bin:/bin'), PYTHON='/none')
        output = run(f'{script}.sh', *flags, cwd=tmp_path, **bare)
        assert f'Usage: bash tools/{script}.sh [--stack ' in output


@pytest.fixture
def usual_port_taken():
    """Another job on the port that everyone takes by default."""
    with socket.socket() as other:
        with suppress(OSError):  # it is taken already
            other.bind(('', 29500))
            other.listen()
        yield


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='about CPU processes')
def test_two_processes_train_and_test(config, tmp_path, usual_port_taken):
    # 4 images, batches of 1 in each of 2 processes: 2 iterations.
    work_dir = ['--work-dir', tmp_path]
    options = ['--cfg-options', 'train_dataloader.batch_size=1']
    options += ['randomness.diff_rank_seed=True']
    run('dist_train.sh', config, 2, *work_dir, *options)
    checkpoint = load_run(tmp_path / 'epoch_1.pth')
    assert checkpoint['meta']['iter'] == 2
    keys = checkpoint['state_dict']
    assert not any(key.startswith('module.') for key in keys)
    metrics = tmp_path / 'metrics.json'
    test = [config, tmp_path / 'epoch_1.pth', 2, *work_dir]
    test += ['--out', metrics, '--out-item', 'metrics']
    assert 'GPU number: 2' in run('dist_test.sh', *test)
    assert json.loads(metrics.read_text())['accuracy/top1'] % 25 == 0


@pytest.mark.parametrize(
    'command',
    [
        'dist_train.sh c.py',
        'dist_test.sh c.py x.pth',
        'slurm_train.sh part job c.py',
        'slurm_test.sh part job c.py',
    ],
)
def test_missing_argument(command):
    script, *arguments = command.split()
    with pytest.raises(AssertionError, match='usage: ' + script):
        run(script, *arguments)


def test_nodes_share_the_given_port(tmp_path):
    env = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='node0')
    env.update(PYTHON=write_echo(tmp_path / 'python'))
    given = ['a b.py', 8, '--cfg-options', 'x="[1, 2]"']
    words = '--nnodes=2 --node_rank=1 --master_addr=node0 --master_port=29500'
    words = {*words.split(), '--nproc_per_node=8', 'a b.py', 'x="[1, 2]"'}
    assert words <= {*run('dist_train.sh', *given, **env).split('\n')}
    env.update(NNODES='1', PORT='1234')
    assert '--master_port=1234' in run('dist_train.sh', 'c.py', 8, **env)


@pytest.mark.parametrize('active', [True, False])
def test_python_is_the_active_one_or_that_of_venv(tmp_path, active):
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
    for folder in ('venv', '.venv'):
        (tmp_path / folder / 'bin').mkdir(parents=True)
        # Answers what it is asked first: does it have the stack?
        python = Path(write_echo(tmp_path / folder / 'bin/python'))
        status = 1 if folder == 'venv' and not active else 0
        python.write_text(f'#!/bin/sh\necho "{folder}"; exit {status}\n')
    path = f'{tmp_path}/venv/bin{os.pathsep}{os.environ["PATH"]}'
    env = dict(PYTHON='', PORT='1234', PATH=path)
    output = run(tmp_path / 'tools/dist_train.sh', 'c.py', 2, **env)
    assert output.split()[-1] == ('venv' if active else '.venv')


def test_slurm(tmp_path):
    write_echo(tmp_path / 'srun')
    env = dict(GPUS='16', SRUN_ARGS='--qos=x --time=1')
    env['PATH'] = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    given = ['part', 'job', 'c.py', 'a b', '--amp']
    # One failing rank ends the others.
    words = '--partition=part --ntasks=16 --ntasks-per-node=8 --qos=x --time=1'
    words = {*words.split(), '--kill-on-bad-exit=1', 'a b', '--amp', 'slurm'}
    words.add(str(ROOT / 'tools/train.py'))
    assert words <= {*run('slurm_train.sh', *given, **env).split('\n')}
    given[3:] = ['x.pth']
    output = ' '.join(run('slurm_test.sh', *given, **env).split())
    assert f'{ROOT}/tools/test.py c.py x.pth --launcher slurm' in output


@pytest.fixture
def groups(monkeypatch):
    """Process groups that would have been made, on a CPU machine."""
    made = []

    def make(*args, **kwargs):
        made.append((args, kwargs))

    monkeypatch.setattr(process_group, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(process_group.torch_dist, 'init_process_group', make)
    return made


def test_cpu_keeps_the_users_settings(groups):
    """SyncBN alone gives way; it needs an accelerator."""
    mine = dict(type='Mine', static_graph=True)
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=mine))
    cfg.env_cfg = dict(dist_cfg=dict(timeout=60))
    one, other, plain = (
        dict(norm_cfg=dict(type=kind, requires_grad=True))
        for kind in ('SyncBN', 'MMSyncBN', 'BN')
    )
    cfg.model = dict(backbone=one, heads=[other])
    prepare_launch(cfg)
    assert cfg.model == dict(backbone=plain, heads=[plain])
    assert cfg.model_wrapper_cfg == dict(mine, device_ids=None)
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
    prepare_launch(cfg)
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=True,
        device_ids=None,
    )
    assert groups == [
        (('gloo',), dict(timeout=timedelta(seconds=60))),
        (('gloo',), {}),
    ]


@pytest.mark.parametrize(
    'launcher, device',
    [('none', 'cpu'), ('pytorch', 'cuda'), ('slurm', 'cuda')],
)
def test_else_nothing_changes(groups, monkeypatch, launcher, device):
    monkeypatch.setattr(process_group, 'get_device', lambda: device)
    cfg = Config(dict(launcher=launcher))
    prepare_launch(cfg)
    assert groups == [] and 'model_wrapper_cfg' not in cfg


def test_other_launchers_need_an_accelerator(groups):
    with pytest.raises(ValueError, match="launcher='slurm'"):
        prepare_launch(Config(dict(launcher='slurm')))
