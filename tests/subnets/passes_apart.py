"""Passes apart, in a few lines, and by the runner that shares prefixes."""

from contextlib import nullcontext

import torch

from mmst.subnets import PassRunner, Path, activate
from mmst.subnets.cost import tensors_of
from tests.subnets.test_families import draw


def loss_of(model, images, number):
    """A loss of all that a network gives, of its own for each pass."""
    generator = torch.Generator().manual_seed(number)
    outputs = [o for o in tensors_of(model(images)) if o.is_floating_point()]
    return sum(
        (torch.rand(o.shape, generator=generator, dtype=o.dtype) * o.square())
        .mean()
        .sqrt()
        for o in outputs
    )


def apart(model, images, subnets, **options):
    """Losses of passes one after the other."""
    losses = []
    for number, subnet in enumerate(subnets):
        with activate(model, subnet, **options) if subnet else nullcontext():
            losses.append(loss_of(model, images, number))
            losses[-1].backward()
    return losses


def shared(model, images, subnets, inputs=None, **options):
    """Losses of the same passes by the runner."""
    left = list(enumerate(subnets))

    def loss(subnet):
        # Equal subnets come in the caller's order.
        number = next(n for n, other in left if other == subnet)
        left.remove((number, subnet))
        return loss_of(model, images, number)

    return PassRunner(model, **options).run(subnets, loss, inputs)


def assert_equal(model, other, losses, expected):
    """Losses, gradients to 1e-10, running statistics."""
    torch.testing.assert_close(
        torch.stack(losses), torch.stack(expected), rtol=1e-10, atol=0
    )
    assert not any(loss.requires_grad for loss in losses)
    largest = max(
        p.grad.abs().max() for p in other.parameters() if p.grad is not None
    )
    for (name, ours), theirs in zip(
        model.named_parameters(), other.parameters()
    ):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(
                ours.grad, theirs.grad, rtol=1e-10, atol=1e-10 * largest.item()
            )
    for (name, ours), theirs in zip(model.named_buffers(), other.buffers()):
        assert torch.equal(ours, theirs), name


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


def num_distinct(stages, subnets):
    """Number of distinct prefixes of blocks that end in one that runs."""
    blocks = [block for stage in stages for block in stage.blocks]
    prefixes = set()
    for subnet in subnets:
        paths = (Path.BOTH,) * len(blocks) if subnet is None else subnet.paths
        if subnet is not None:
            paths = sum(paths, ())
        # Raw sampling of a block without a shortcut is the block.
        paths = tuple(
            Path.BOTH if block.shortcut is None else path
            for block, path in zip(blocks, paths)
        )
        for end, path in enumerate(paths, 1):
            if path is not Path.SHORTCUT:
                prefixes.add(paths[:end])
    return len(prefixes)


def some_subnets(stages, strategies=('ordered', 'stochastic', 'raw')):
    subnets = [
        draw(stages, strategy, seed)
        for strategy in strategies
        for seed in range(2)
    ]
    return [*subnets, subnets[1], subnets[0]]
