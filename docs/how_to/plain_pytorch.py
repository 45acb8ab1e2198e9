"""Train any classifier with ST++ in plain PyTorch."""

from torch.nn.functional import cross_entropy

from mmst.subnets import PassRunner, kl_minus, normalize_logits, resize_inputs


def train_epoch(model, loader, optimizer, sampler, start=0):
    """Train for an epoch, from iteration ``start`` on; return all losses."""
    runner = PassRunner(model)
    history = []
    model.train()
    for iteration, (images, labels) in enumerate(loader, start):
        subnets = sampler.draw(iteration)
        losses = {}
        for one in runner.plan([None, *subnets]):  # None: the main network
            with one:  # the model is this network in here
                if one.subnet is None:
                    main = model(images)
                    normal = normalize_logits(main, 'standardize')
                    loss = cross_entropy(normal, labels)
                else:
                    logits = model(resize_inputs(images, one.subnet.size))
                    loss = kl_minus(logits, main, 'standardize')
                one.backward(loss)
            losses[one.index] = loss.item()
        optimizer.step()
        optimizer.zero_grad()
        history.append([losses[index] for index in sorted(losses)])
    return history
