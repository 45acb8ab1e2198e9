"""Passes apart, in a few lines, by the runner, and of networks cut by hand."""

import copy
import random
from contextlib import nullcontext
from dataclasses import replace

import numpy
import torch
from torch import nn

from mmst.subnets import (
    PassRunner,
    Path,
    SubnetSampler,
    activate,
    find_stages,
)
from mmst.subnets.cost import iter_tensors


def draw(model, strategy, seed=0):
    """Draw any subnet of a model."""
    sampler = SubnetSampler(strategy=strategy, seed=seed)
    return sampler.fit(model).draw(0)[0]


def loss_of(model, images, number):
    """A loss of all that a network gives, of its own for each pass."""
    generator = torch.Generator().manual_seed(number)
    outputs = [o for o in iter_tensors(model(images)) if o.is_floating_point()]
    return sum(
        (torch.rand(o.shape, generator=generator, dtype=o.dtype) * o.square())
        .mean()
        .sqrt()
        for o in outputs
    )


def do_nothing(subnet):
    """Called in each pass, before the model runs."""


def apart(model, images, subnets, before=do_nothing, **options):
    """Losses of passes one after the other, each on images of its own."""
    losses = []
    for subnet in subnets:
        number = subnets.index(subnet)
        with activate(model, subnet, **options) if subnet else nullcontext():
            before(subnet)
            losses.append(loss_of(model, images[number], number))
            losses[-1].backward()
    return losses


def shared(model, images, subnets, before=do_nothing, **options):
    """Losses of the same passes by the runner; they share equal images."""

    def loss(subnet):
        number = subnets.index(subnet)
        before(subnet)
        return loss_of(model, images[number], number)

    inputs = [id(own) for own, _ in zip(images, subnets)]
    return PassRunner(model, **options).run(subnets, loss, inputs)


def assert_equal(model, other, losses, expected):
    """Losses, gradients to 1e-10, running statistics."""
    torch.testing.assert_close(
        torch.stack(losses),
        torch.stack(expected).detach(),
        rtol=1e-10,
        atol=0,
    )
    assert not any(loss.requires_grad for loss in losses)
    ours, theirs = (
        {name: p.grad for name, p in net.named_parameters()}
        for net in (model, other)
    )
    largest = max(g.abs().max() for g in theirs.values() if g is not None)
    for name, gradient in theirs.items():
        assert (ours[name] is None) == (gradient is None), name
        if gradient is not None:
            error = (ours[name] - gradient).abs()
            assert (error <= 1e-10 * (largest + gradient.abs())).all(), name
    for (name, ours), theirs in zip(model.named_buffers(), other.buffers()):
        assert torch.equal(ours, theirs), name


def run_passes(
    how, make, images, subnets, watch=None, prepare=None, **options
):
    """Run passes of a new network by ``how``, :func:`shared` or :func:`apart`.

    ``prepare`` changes the network, and may return what to do in each pass;
    ``watch`` gives modules whose calls are counted. Returns the network, the
    losses and the counts.
    """
    model = make()
    for seed in (torch.manual_seed, numpy.random.seed, random.seed):
        seed(3)
    if prepare is not None:
        options['before'] = prepare(model) or do_nothing
    counts = count_calls(watch(model) if watch else [])
    losses = how(model, images, subnets, **options)
    return model, losses, [*counts.values()]


def check(*passes, share=True, **options):
    """Assert that passes that share equal passes apart; give their counts."""
    other, expected, _ = run_passes(apart, *passes, **options)
    model, losses, counts = run_passes(shared, *passes, share=share, **options)
    assert_equal(model, other, losses, expected)
    return counts


def train_without_chance(model):
    """Training mode, for all but dropout and stochastic depth."""
    model.train()
    for module in model.modules():
        if 'Drop' in type(module).__name__ or 'Stoch' in type(module).__name__:
            module.eval()
    return model


def count_calls(modules):
    """Count how often modules run, by a forward of their own."""
    counts = dict.fromkeys(modules, 0)
    for module in modules:

        def forward(*args, own=module.forward, module=module, **kwargs):
            counts[module] += 1
            return own(*args, **kwargs)

        module.forward = forward
    return counts


def num_distinct(stages, subnets, images):
    """Number of distinct prefixes of blocks that end in one that runs."""
    blocks = [block for stage in stages for block in stage.blocks]
    prefixes = set()
    for subnet, own in zip(subnets, images):
        paths = sum(subnet.paths, ()) if subnet else [Path.BOTH] * len(blocks)
        # Raw sampling of a block without a shortcut is the block.
        paths = [
            Path.BOTH if block.shortcut is None else path
            for block, path in zip(blocks, paths)
        ]
        prefixes |= {
            (id(own), *paths[:end])
            for end, path in enumerate(paths, 1)
            if path is not Path.SHORTCUT
        }
    return len(prefixes)


def some_passes(model, images, strategies=('ordered', 'stochastic', 'raw')):
    """Subnets and their images, the main network's among the first.

    Of each strategy one subnet gets either of two batches of images.
    """
    drawn = [
        # Equal ones are told apart by their sizes, which nothing here reads.
        replace(draw(model, strategy, seed), size=seed)
        for strategy in strategies
        for seed in range(2)
    ]
    first, second = drawn[::2], drawn[1::2]
    passes = [(None, images[0])]
    passes += [(subnet, images[0]) for subnet in (*first, first[-1])]
    passes += [(subnet, images[1]) for subnet in (*second, second[0])]
    # Those on one input need not come one after the other.
    passes[2], passes[-1] = passes[-1], passes[2]
    subnets, images = zip(*passes)
    return subnets, images


class Skipped(nn.Module):
    """Stands for a removed block, where the network may count its blocks."""

    def forward(self, x, *args, **kwargs):
        return x


def names_of_skipped(model, subnet):
    names = {module: name for name, module in model.named_modules()}
    return [
        names[block.module]
        for stage, paths in zip(find_stages(model), subnet.paths)
        for block, path in zip(stage.blocks, paths)
        if path is Path.SHORTCUT
    ]


def cut(model, subnet):
    """The same network without the skipped blocks."""
    small = copy.deepcopy(model)
    for name in names_of_skipped(model, subnet):
        parent, _, child = name.rpartition('.')
        setattr(small.get_submodule(parent), child, Skipped())
    return small
