"""Compiled blocks: run by test_compiled.py in an interpreter of its own.

PyTorch's compiler disables the step hooks of all optimizers of a process.
"""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from mmst.subnets import (
    PassRunner,
    Subnet,
    activate,
    compile_blocks,
    export_subnet,
    find_stages,
    measure_cost,
    resize_inputs,
)
from mmst.subnets.compilation import is_compiled
from tests.conftest import load_run

torchvision = pytest.importorskip('torchvision')


def network() -> nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.ResNet(
        torchvision.models.resnet.BasicBlock,
        [2, 1, 1, 2],
        num_classes=5,
    )
    return net.double()


def run(model, size):
    """Run a small subnet forward and backward."""
    with activate(model, (1, 1, 1, 1)):
        model(torch.rand(2, 3, size, size).double()).mean().backward()


@pytest.fixture(scope='module')
def compiled():
    net = network()
    compile_blocks(net, backend='aot_eager')
    return net


def test_passes_share_compiled_blocks(compiled):
    """They equal passes apart of plain blocks, at two sizes."""
    plain = network()
    plain.load_state_dict(compiled.state_dict())
    full = [len(stage) for stage in find_stages(plain)]
    subnets = [
        Subnet.ordered(depths, full, size)
        for depths in ((1, 1, 1, 2), (2, 1, 1, 1))
        for size in (48, 64)
    ]
    results = []
    for model, share in ((plain, False), (compiled, True)):
        runner = PassRunner(model, share=share)
        for size in (64, 80):
            images = torch.ones(2, 3, size, size).double().cumsum(3)
            model.zero_grad()

            def loss(subnet, model=model, images=images):
                inputs = resize_inputs(images, subnet and subnet.size)
                return model(inputs).square().mean()

            losses = runner.run([None, *subnets], loss)
            gradients = [p.grad for p in model.parameters()]
            results.append((losses, gradients, list(model.buffers())))
    for expected, found in zip(results[:2], results[2:]):
        torch.testing.assert_close(found, expected)


def test_sizes_do_not_compile_again(compiled):
    counters = torch._dynamo.utils.counters['stats']
    run(compiled, 48)
    run(compiled, 64)
    before = counters['unique_graphs']
    assert before > 0
    for size in (40, 56, 72, 80, 96, 104):
        run(compiled, size)
    assert counters['unique_graphs'] == before


def test_counting_flops_compiles_nothing(compiled):
    """Else all blocks would be compiled once more for each input size."""
    counters = torch._dynamo.utils.counters['stats']
    before = counters['unique_graphs']
    image = torch.zeros(1, 3, 120, 136).double()
    assert measure_cost(compiled, image) == measure_cost(network(), image)
    assert counters['unique_graphs'] == before
    blocks = [b.module for s in find_stages(compiled) for b in s.blocks]
    assert all(map(is_compiled, blocks))


def test_copies_and_exports_run_their_own_weights(compiled):
    for copied in (
        copy.deepcopy(compiled),
        export_subnet(compiled, (2, 1, 1, 1)),
    ):
        blocks = [b.module for s in find_stages(copied) for b in s.blocks]
        assert not any(map(is_compiled, blocks))
        for parameter in copied.parameters():
            nn.init.zeros_(parameter)
        copied.eval()
        assert not copied(torch.ones(1, 3, 32, 32).double()).any()
    assert compiled.state_dict().keys() == network().state_dict().keys()


@pytest.mark.parametrize('part', ['', 'in place', 'layer3', 'layer4.1'])
@pytest.mark.parametrize('is_run', [False, True])
def test_what_is_compiled_otherwise_is_refused(part, is_run):
    if part == 'in place' and not hasattr(nn.Module, 'compile'):
        pytest.skip('this PyTorch does not compile modules in place')
    model = network().float().eval()
    if part == 'in place':
        model.compile(backend='eager')
    elif part:
        parent, _, name = part.rpartition('.')
        module = torch.compile(model.get_submodule(part), backend='eager')
        setattr(model.get_submodule(parent), name, module)
    else:
        model = torch.compile(model, backend='eager')
    if is_run:
        with torch.no_grad():
            model(torch.ones(1, 3, 32, 32))
    for use in (
        lambda m: activate(m, (1, 1, 1, 1)).__enter__(),
        compile_blocks,
    ):
        with pytest.raises(ValueError, match='compiled as a whole'):
            use(model)


def test_compiling_twice_is_refused(compiled):
    with pytest.raises(ValueError, match='already compiled'):
        compile_blocks(compiled)


@pytest.mark.parametrize('loop', ['Epoch', 'Iter'])
def test_config_option_trains_as_without(tiny_runner, loop):
    """Weights and statistics after two epochs.

    What runs once before them, without gradients, compiles nothing.
    """
    ends, has_grad = [], set()

    def backend(graph, inputs):
        has_grad.add(torch.is_grad_enabled())
        return graph

    torch._dynamo.register_backend(backend, f'recorded_{loop}')
    compiler = dict(backend=f'recorded_{loop}')
    for options in (dict(), dict(compile=compiler)):
        runner = tiny_runner(
            f'run{len(ends)}',
            sampler=dict(
                num_subnets=2, size_range=(0.5, 1.0), begin=1, by_epoch=False
            ),
            loop=f'mmst.ST{loop}BasedTrainLoop',
            **options,
        )
        runner.train()
        name = 'epoch_2.pth' if loop == 'Epoch' else 'iter_6.pth'
        ends.append(load_run(Path(runner.work_dir) / name)['state_dict'])
        blocks = [
            b.module for s in find_stages(runner.model) for b in s.blocks
        ]
        assert all(is_compiled(block) is bool(options) for block in blocks)
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)
    assert has_grad == {True}
