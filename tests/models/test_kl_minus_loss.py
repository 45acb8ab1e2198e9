"""KL- against its equations, written out in float64."""

import pytest
import torch

from mmst.models import KLMinusLoss
from mmst.subnets import kl_minus_loss
from mmst.subnets.kl_minus_loss import normalize_logits


def direction(z, normalize):
    if normalize == 'l2':
        return z / z.square().sum(1, keepdim=True).sqrt()
    if normalize == 'standardize':
        z = z - z.mean(1, keepdim=True)
        return z / (z.square().mean(1, keepdim=True) + 1e-7).sqrt()
    return z


@pytest.mark.parametrize('normalize', ['l2', 'standardize', None])
@pytest.mark.parametrize(
    'scale, temperature, weight', [(1.0, 1.0, 1.0), (4.0, 2.0, 0.5)]
)
@pytest.mark.parametrize('num_classes', [10, 1000])
def test_equations(normalize, scale, temperature, weight, num_classes):
    """Eq. 4 to 6; batchmean; gradient to the subnet only (contract 4)."""
    torch.manual_seed(0)
    main, subnet = (
        torch.randn(5, num_classes).double().mul(3).requires_grad_()
        for _ in range(2)
    )
    loss = KLMinusLoss(normalize, scale, temperature, weight)(subnet, main)
    p, q = (
        (direction(z, normalize) * scale / temperature).softmax(1)
        for z in (main.detach(), subnet)
    )
    expected = weight * temperature**2 * (p * (p / q).log()).sum() / 5
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    loss.backward()
    torch.testing.assert_close(
        subnet.grad,
        torch.autograd.grad(expected, subnet)[0],
        rtol=1e-9,
        atol=1e-15,
    )
    assert main.grad is None


@pytest.mark.parametrize('normalize', ['l2', 'standardize', None])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_with_autocast_off(normalize, dtype, monkeypatch):
    """Half precision gives nearly what float32 gives, and no overflow."""
    torch.manual_seed(0)
    main, subnet = (torch.randn(4, 1000) * 100 for _ in range(2))
    loss, seen = KLMinusLoss(normalize), []

    def watch(*args):
        seen.append(torch.is_autocast_cpu_enabled())
        return normalize_logits(*args)

    monkeypatch.setattr(kl_minus_loss, 'normalize_logits', watch)
    with torch.autocast('cpu', torch.bfloat16):
        out = loss(subnet.to(dtype), main.to(dtype))
    assert out.dtype == torch.float32 and seen == [False, False]
    expected = loss(subnet.to(dtype).float(), main.to(dtype).float())
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize('normalize', ['l2', 'standardize', None])
@pytest.mark.parametrize('size', [0.0, 1e-30, 1e-12, 1e12, 1e30])
def test_zero_and_huge_logits(normalize, size):
    torch.manual_seed(0)
    subnet = (torch.randn(3, 10) * size).requires_grad_()
    other = torch.randn(3, 10)
    for main in (other, other * size, torch.zeros(3, 10)):
        subnet.grad = None
        loss = KLMinusLoss(normalize)(subnet, main)
        loss.backward()
        assert torch.isfinite(loss) and loss >= -1e-6
        assert torch.isfinite(subnet.grad).all()
        assert subnet.grad.abs().max() < 1e4


@pytest.mark.parametrize('size', [1e7, 1e18, 1e30])
@pytest.mark.parametrize('normalize', ['l2', 'standardize'])
def test_huge_logits_keep_their_direction(normalize, size):
    torch.manual_seed(0)
    z, main = torch.randn(3, 10), torch.randn(3, 10)
    loss = KLMinusLoss(normalize)
    torch.testing.assert_close(
        loss(z * size, main), loss(z, main), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    'shapes, message',
    [
        ([(2, 3), (2, 4)], r'not \(2, 3\) and \(2, 4\)'),
        # Their classes stand second, and the batch is not all that is summed.
        ([(2, 5, 4, 4)] * 2, r'\(N, num_classes\)'),
    ],
)
def test_what_is_no_pair_of_logits_is_refused(shapes, message):
    with pytest.raises(ValueError, match=message):
        KLMinusLoss()(*map(torch.zeros, shapes))
