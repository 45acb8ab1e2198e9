"""Train any classifier with ST++ in plain PyTorch."""

from torch.nn.functional import cross_entropy

from mmst.subnets import activate, kl_minus, normalize_logits, resize_inputs


def train_epoch(model, loader, optimizer, sampler, start=0):
    """Train for an epoch, from iteration ``start`` on; give all losses."""
    history = []
    model.train()
    for iteration, (images, labels) in enumerate(loader, start):
        logits = model(images)
        normal = normalize_logits(logits, 'standardize')
        losses = [cross_entropy(normal, labels)]
        losses[0].backward()
        for subnet in sampler.draw(iteration):
            with activate(model, subnet):
                inputs = resize_inputs(images, subnet.size)
                losses.append(kl_minus(model(inputs), logits, 'standardize'))
                losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append([loss.item() for loss in losses])
    return history
