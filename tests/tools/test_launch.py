"""Several processes, on a machine without an accelerator too."""

import json
import os
import shutil
import socket
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmst.launch import process_group
from mmst.launch.process_group import prepare_launch
from tests.conftest import load_run

ROOT = Path(__file__).parents[2]


def run(script: str, *args: str, env: dict) -> str:
    done = subprocess.run(
        ['bash', str(ROOT / 'tools' / script), *map(str, args)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize('script', ['quickstart', 'run_tests', 'install'])
def test_help_does_nothing(script, tmp_path):
    for flags in (['--help'], ['-h'], ['--stack', 'onedl', '--help']):
        done = subprocess.run(
            ['bash', str(ROOT / 'tools' / f'{script}.sh'), *flags],
            env=dict(PATH='/usr/bin:/bin', PYTHON='/none'),
            cwd=str(tmp_path),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and done.stderr == ''
        assert f'Usage: bash tools/{script}.sh [--stack ' in done.stdout


@pytest.fixture
def usual_port_taken():
    """Another job on the port that everyone takes by default."""
    with socket.socket() as other:
        try:
            other.bind(('', 29500))
            other.listen()
        except OSError:
            pass  # it is taken already
        yield


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='about CPU processes')
def test_two_processes_train_and_test(
    config, tmp_path, shell_env, usual_port_taken
):
    # 4 images, batches of 1 in each of 2 processes: 2 iterations.
    run(
        'dist_train.sh',
        config,
        2,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_dataloader.batch_size=1',
        'randomness.diff_rank_seed=True',
        env=shell_env,
    )
    checkpoint = load_run(tmp_path / 'epoch_1.pth')
    assert checkpoint['meta']['iter'] == 2
    assert not any(
        key.startswith('module.') for key in checkpoint['state_dict']
    )
    metrics = tmp_path / 'metrics.json'
    output = run(
        'dist_test.sh',
        config,
        tmp_path / 'epoch_1.pth',
        2,
        '--work-dir',
        tmp_path,
        '--out',
        metrics,
        '--out-item',
        'metrics',
        env=shell_env,
    )
    assert 'GPU number: 2' in output
    assert json.loads(metrics.read_text())['accuracy/top1'] % 25 == 0


@pytest.mark.parametrize('kind', ['SyncBN', 'MMSyncBN'])
def test_sync_bn_gives_way_on_cpus(kind, monkeypatch):
    monkeypatch.setattr(process_group, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(process_group, 'is_distributed', lambda: True)
    norm = dict(type=kind, requires_grad=True)
    cfg = Config(
        dict(
            launcher='pytorch',
            model=dict(
                backbone=dict(norm_cfg=norm), heads=[dict(norm_cfg=norm)]
            ),
        )
    )
    prepare_launch(cfg)
    expected = dict(type='BN', requires_grad=True)
    assert cfg.model.backbone.norm_cfg == expected
    assert cfg.model.heads[0].norm_cfg == expected


@pytest.mark.parametrize(
    'script, arguments',
    [
        ('dist_train.sh', ['c.py']),
        ('dist_test.sh', ['c.py', 'x.pth']),
        ('slurm_train.sh', ['part', 'job', 'c.py']),
        ('slurm_test.sh', ['part', 'job', 'c.py']),
    ],
)
def test_missing_argument(script, arguments, shell_env):
    with pytest.raises(AssertionError, match='usage: ' + script):
        run(script, *arguments, env=shell_env)


def fake(folder, name: str) -> str:
    """Write a program that prints its arguments, one a line."""
    path = folder / name
    path.write_text('#!/bin/sh\nfor a; do echo "$a"; done\n')
    path.chmod(0o755)
    return str(path)


def test_nodes_share_the_given_port(tmp_path, shell_env):
    python = fake(tmp_path, 'python')
    env = dict(
        shell_env,
        PYTHON=python,
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='node0',
    )
    output = run(
        'dist_train.sh', 'a b.py', 8, '--cfg-options', 'x="[1, 2]"', env=env
    ).split('\n')
    for word in (
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=node0',
        '--master_port=29500',
        '--nproc_per_node=8',
        'a b.py',
        'x="[1, 2]"',
    ):
        assert word in output
    assert '--master_port=1234' in run(
        'dist_train.sh', 'c.py', 8, env=dict(env, NNODES='1', PORT='1234')
    )


@pytest.mark.parametrize('active', [True, False])
def test_python_is_the_active_one_or_that_of_venv(tmp_path, shell_env, active):
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
    for folder in ('venv', '.venv'):
        (tmp_path / folder / 'bin').mkdir(parents=True)
        # Answers what it is asked first: does it have the stack?
        python = Path(fake(tmp_path / folder / 'bin', 'python'))
        status = 1 if folder == 'venv' and not active else 0
        python.write_text(f'#!/bin/sh\necho "{folder}"; exit {status}\n')
    env = dict(
        shell_env,
        PORT='1234',
        PATH=f'{tmp_path}/venv/bin{os.pathsep}{shell_env["PATH"]}',
    )
    del env['PYTHON']
    script = str(tmp_path / 'tools' / 'dist_train.sh')
    output = run(script, 'c.py', 2, env=env)
    assert output.split()[-1] == ('venv' if active else '.venv')


def test_slurm(tmp_path, shell_env):
    fake(tmp_path, 'srun')
    env = dict(
        shell_env,
        GPUS='16',
        SRUN_ARGS='--qos=x --time=1',
        PATH=f'{tmp_path}{os.pathsep}{shell_env["PATH"]}',
    )
    output = run(
        'slurm_train.sh', 'part', 'job', 'c.py', 'a b', '--amp', env=env
    ).split('\n')
    for word in (
        '--partition=part',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--qos=x',
        '--time=1',
        '--kill-on-bad-exit=1',  # one failing rank ends the others
        str(ROOT / 'tools/train.py'),
        'a b',
        '--amp',
        'slurm',
    ):
        assert word in output
    output = run(
        'slurm_test.sh', 'part', 'job', 'c.py', 'x.pth', env=env
    ).split('\n')
    start = output.index(str(ROOT / 'tools/test.py'))
    assert output[start + 1 : start + 5] == [
        'c.py',
        'x.pth',
        '--launcher',
        'slurm',
    ]


@pytest.fixture
def groups(monkeypatch):
    """Process groups that would have been made, on a CPU machine."""
    made = []
    monkeypatch.setattr(process_group, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(
        process_group.torch_dist,
        'init_process_group',
        lambda *args, **kwargs: made.append((args, kwargs)),
    )
    return made


@pytest.mark.parametrize(
    'options, group, wrapper',
    [
        (
            dict(
                env_cfg=dict(dist_cfg=dict(timeout=60)),
                model_wrapper_cfg=dict(type='Mine', static_graph=True),
            ),
            dict(timeout=timedelta(seconds=60)),
            dict(type='Mine', static_graph=True),
        ),
        (
            dict(find_unused_parameters=True),
            {},
            dict(
                type='MMDistributedDataParallel',
                broadcast_buffers=False,
                find_unused_parameters=True,
            ),
        ),
    ],
)
def test_cpu_keeps_the_users_settings(groups, options, group, wrapper):
    cfg = Config(dict(launcher='pytorch', **options))
    prepare_launch(cfg)
    assert groups == [(('gloo',), group)]
    assert cfg.model_wrapper_cfg == dict(wrapper, device_ids=None)


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
