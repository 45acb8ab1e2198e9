"""The benchmark runs each way to train subnets, and counts what it says."""

import sys
from argparse import Namespace

import pytest
import torch
from torch import nn

from tests.conftest import ROOT

CONFIG = str(ROOT / 'configs/st_cifar/resnet56_st_cifar10.py')


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('tools/benchmarks/iteration_cost')


def options(case, **others):
    args = dict(config=CONFIG, case=case, batch_size=2, size=[32, 32])
    args.update(iterations=1, num_subnets=2, same_size=True)
    off = dict.fromkeys(('amp', 'channels_last', 'compile', 'no_heads'), False)
    return Namespace(**{**off, **args, **others})


@pytest.mark.parametrize(
    'case', ['plain', 'apart', 'shared', 'graph', 'released']
)
def test_a_case(tool, case):
    result = tool.run_case(options(case))
    # Two subnets at the main input's size, perhaps with some blocks left out.
    low, high = dict(plain=(1, 1), shared=(1, 2.5)).get(case, (1.5, 3))
    assert low <= result['predicted'] <= high
    assert result['seconds'] > 0 and result['memory'] > 0


def test_a_detector(tool):
    pytest.importorskip('mmdet')
    config = f'{ROOT}/configs/st_det/mask-rcnn_r50-st-star_fpn_1x_coco.py'
    args = options('shared', config=config, size=[64, 64], no_heads=True)
    assert 1 < tool.run_case(args)['predicted'] < 2.5


def test_all_ways_but_the_released_one_train_alike(tool):
    """One step from the same weights on the same batch, against passes apart.

    Running statistics and inputs are the released procedure's own.
    """

    def train(case):
        torch.manual_seed(0)
        args = options(case)
        model, optim_wrapper, data, sampler = tool.build(
            args, torch.device('cpu')
        )
        model.double()
        subnets = sampler.draw(0)
        step = tool.choose_step(args, model)
        data['inputs'] = data['inputs'].double()
        step(model, data, optim_wrapper, subnets=subnets)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    apart = train('apart')
    for case in ('shared', 'graph', 'released'):
        gap = (train(case) - apart).abs().max()
        assert (gap.item() < 1e-10) is (case != 'released'), case


def test_table(tool):
    results = dict(
        plain=dict(seconds=2.0, predicted=1.0, memory=100.0),
        shared=dict(seconds=3.0, predicted=1.2, memory=150.0),
    )
    head, plain, shared = tool.format_results(results).splitlines()
    assert head.split()[:2] == ['s/iter', 'ratio']
    assert plain.split()[1:] == '2.000 1.00 1.00 1.000 100 1.00'.split()
    assert shared.split()[2:] == '3.000 1.50 1.20 1.250 150 1.50'.split()


@pytest.mark.slow
def test_each_case_has_its_own_process(tool, capfd, monkeypatch):
    script = str(ROOT / 'tools/benchmarks/iteration_cost.py')
    args = ['--configs', CONFIG, '--batch-size', '2', '--size', '32', '32']
    args += ['--iterations', '1', '--rounds', '1', '--cases', 'shared']
    monkeypatch.setattr(sys, 'argv', [script, *args])
    tool.main()
    out = capfd.readouterr().out
    assert 'ST, shared' in out and 'ST, apart' not in out
