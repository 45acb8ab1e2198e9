"""How large KL- and its gradient are, by normalisation and number of classes.

Logits are random: the main network's peak at the right class, as a trained
network's do; the subnet's are these with noise added. The last column is the
largest value of the loss between any two logit vectors, found by gradient
ascent.
"""

import argparse
from typing import TYPE_CHECKING, Optional, Sequence

if TYPE_CHECKING:
    from torch import Tensor


def make_typical_logits(num_classes: int, batch_size: int) -> 'Tensor':
    """Make logits with a softmax of about 0.8 on the right class, (N, C)."""
    import torch

    logits = torch.randn(batch_size, num_classes).double()
    others = logits.exp().sum(1) - logits[:, 0].exp()
    logits[:, 0] = (4 * others).log()
    return logits


def find_largest_loss(normalize: str, num_classes: int, steps: int) -> float:
    """Find the largest loss between two logit vectors."""
    import torch

    from mmst.models import KLMinusLoss

    loss = KLMinusLoss(normalize)
    main, subnet = (
        torch.randn(8, num_classes).double().requires_grad_() for _ in range(2)
    )
    optimizer = torch.optim.Adam([main, subnet], lr=0.05)
    highest = 0.0
    for _ in range(steps):
        p, q = (
            loss.normalize_logits(z).log_softmax(1) for z in (main, subnet)
        )
        value = (p.exp() * (p - q)).sum(1)
        highest = max(highest, value.max().item())
        optimizer.zero_grad()
        (-value.sum()).backward()
        optimizer.step()
    return highest


def main(args: Optional[Sequence[str]] = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--num-classes', type=int, nargs='+', default=[10, 100, 1000]
    )
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--steps', type=int, default=2000)
    parsed = parser.parse_args(args)

    import torch

    from mmst.models import KLMinusLoss

    torch.manual_seed(0)
    print(
        f'{"classes":>8}{"normalize":>14}{"loss":>12}{"gradient":>12}'
        f'{"largest loss":>14}'
    )
    for num_classes in parsed.num_classes:
        main_logits = make_typical_logits(num_classes, parsed.batch_size)
        noise = torch.randn_like(main_logits)
        for normalize in (None, 'standardize', 'l2'):
            subnet = (main_logits + noise).requires_grad_()
            loss = KLMinusLoss(normalize)(subnet, main_logits)
            loss.backward()
            # The gradient of one image: the loss is the mean over the batch.
            gradient = subnet.grad.norm(dim=1).mean() * parsed.batch_size
            largest = 'none'
            if normalize is not None:
                bound = find_largest_loss(normalize, num_classes, parsed.steps)
                largest = f'{bound:.4f}'
            print(
                f'{num_classes:>8}{str(normalize):>14}{loss.item():>12.6f}'
                f'{gradient.item():>12.2e}{largest:>14}',
                flush=True,
            )


if __name__ == '__main__':
    main()
