"""The benchmark runs each way to train subnets, and counts what it says."""

import sys
from argparse import Namespace

import pytest
import torch
from torch import nn

from tests.conftest import ROOT

CASES = ('apart', 'shared', 'graph', 'released')


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('tools/benchmarks/iteration_cost')


def options(config, case, **others):
    return Namespace(
        **{
            **dict(
                config=str(ROOT / 'configs' / config),
                case=case,
                batch_size=2,
                size=[64, 64],
                iterations=1,
                num_subnets=2,
                amp=False,
                channels_last=False,
                compile=False,
                same_size=True,
                no_heads=False,
            ),
            **others,
        }
    )


@pytest.mark.parametrize('case', ['plain', *CASES])
def test_a_case(tool, case):
    config = 'st_cifar/resnet56_st_cifar10.py'
    result = tool.run_case(options(config, case))
    # Two subnets at the main input's size, perhaps with some blocks left out.
    if case == 'plain':
        assert result['predicted'] == 1
    elif case == 'shared':
        assert 1 < result['predicted'] < 2.5
    else:
        assert 1.5 < result['predicted'] <= 3
    assert result['seconds'] > 0 and result['memory'] > 0


def test_a_detector(tool):
    pytest.importorskip('mmdet')
    result = tool.run_case(
        options(
            'st_det/mask-rcnn_r50-st-star_fpn_1x_coco.py',
            'shared',
            no_heads=True,
        )
    )
    assert 1 < result['predicted'] < 2.5


@pytest.mark.parametrize('case', ['shared', 'graph', 'released'])
def test_all_ways_but_the_released_one_train_alike(tool, case):
    """One step from the same weights on the same batch, against passes apart.

    Running statistics and inputs are the released procedure's own.
    """

    def weights_after(case):
        torch.manual_seed(0)
        args = options('st_cifar/resnet56_st_cifar10.py', case)
        model, optim_wrapper, data, sampler = tool.build(
            args, torch.device('cpu')
        )
        model.double()
        subnets = sampler.draw(0)
        step = tool.choose_step(args, model)
        data['inputs'] = data['inputs'].double()
        step(model, data, optim_wrapper, subnets=subnets)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    gap = (weights_after(case) - weights_after('apart')).abs().max()
    assert (gap.item() < 1e-10) is (case != 'released')


@pytest.mark.slow
def test_table(tool, capfd, monkeypatch):
    config = str(ROOT / 'configs/st_cifar/resnet56_st_cifar10.py')
    monkeypatch.setattr(
        sys,
        'argv',
        [str(ROOT / 'tools/benchmarks/iteration_cost.py')]
        + ['--configs', config, '--batch-size', '2', '--size', '32', '32']
        + ['--iterations', '1', '--rounds', '1', '--cases', 'shared'],
    )
    tool.main()
    out = capfd.readouterr().out
    assert 'ST, shared' in out and 'ST, apart' not in out
