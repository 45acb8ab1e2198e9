"""Train any classifier with ST++ in plain PyTorch."""

from torch.nn.functional import cross_entropy

from mmst.subnets import PassRunner, kl_minus, normalize_logits, resize_inputs


def backpropagate(model, runner, subnets, images, labels):
    """Add up the gradients of main network and subnets; give all losses."""
    main = []

    def loss(subnet):
        """Run the model as it is now: as this subnet, or whole."""
        if subnet is None:
            main.append(model(images))
            normal = normalize_logits(main[0], 'standardize')
            return cross_entropy(normal, labels)
        inputs = resize_inputs(images, subnet.size)
        return kl_minus(model(inputs), main[0], 'standardize')

    return runner.run([None, *subnets], loss)


def train_epoch(model, loader, optimizer, sampler, start=0):
    """Train for an epoch, from iteration ``start`` on; give all losses."""
    runner = PassRunner(model)
    history = []
    model.train()
    for iteration, (images, labels) in enumerate(loader, start):
        subnets = sampler.draw(iteration)
        losses = backpropagate(model, runner, subnets, images, labels)
        optimizer.step()
        optimizer.zero_grad()
        history.append([loss.item() for loss in losses])
    return history
