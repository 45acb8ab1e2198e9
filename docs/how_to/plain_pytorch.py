"""Train any classifier with ST++ in plain PyTorch."""

from torch.nn.functional import cross_entropy

from mmst.models import KLMinusLoss
from mmst.subnets import (
    InputSizes,
    SamplingSpace,
    activate,
    find_stages,
    resize_inputs,
)


def train_epoch(model, loader, optimizer, rng, num_subnets=3):
    """Train for an epoch, subnets drawn by ``rng``; give all losses."""
    space = SamplingSpace([len(s) for s in find_stages(model)], min_depth=1)
    sizes = InputSizes(size_range=(0.5, 1.0))
    loss_kl = KLMinusLoss('standardize')
    history = []
    model.train()
    for images, labels in loader:
        logits = model(images)
        losses = [cross_entropy(loss_kl.normalize_logits(logits), labels)]
        losses[0].backward()
        for _ in range(num_subnets):
            subnet = space.sample(rng, sizes.sample(rng))
            with activate(model, subnet):
                inputs = resize_inputs(images, subnet.size)
                losses.append(loss_kl(model(inputs), logits))
                losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append([loss.item() for loss in losses])
    return history
