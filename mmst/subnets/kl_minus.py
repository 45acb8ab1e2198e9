"""KL-: the Kullback-Leibler divergence of logits without their magnitude."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

#: Allowed values of ``normalize``.
NORMALIZATIONS = ('l2', 'standardize', None)

# As in the released code. Variances below it count as zero.
EPS = 1e-7


def normalize_logits(
    logits: Tensor, normalize: Optional[str], scale: float = 1.0
) -> Tensor:
    """Normalise logits, in float32 at least.

    Args:
        logits: (N, num_classes).
        normalize: 'standardize' gives each vector zero mean and unit variance
            over the classes, as the authors' released code does (its norm is
            then the square root of the number of classes). 'l2' divides it by
            its L2 norm, exactly as in the paper (Eq. 4). ``None`` does
            nothing.
        scale: Factor on the result.

    Returns:
        Tensor: (N, num_classes).

    Example:
        >>> normalize_logits(torch.tensor([[3.0, 4.0]]), 'l2')
        tensor([[0.6000, 0.8000]])
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if normalize is not None:
        # Squares of huge logits overflow. Neither normalisation depends on
        # the magnitude, so huge ones are scaled down first.
        logits = logits / logits.detach().abs().amax(1, keepdim=True).clamp(
            min=1e6
        ).div(1e6)
    if normalize == 'l2':
        norm = logits.norm(dim=1, keepdim=True)
        # A vector that is practically zero has no direction: leave it as it
        # is, or its gradient would explode.
        logits = logits / torch.where(norm > EPS, norm, 1.0)
    elif normalize == 'standardize':
        logits = F.layer_norm(logits, logits.shape[1:], eps=EPS)
    return logits * scale


def kl_minus(
    subnet_logits: Tensor,
    main_logits: Tensor,
    normalize: Optional[str] = 'standardize',
    scale: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    r"""Compute the divergence of a subnet from the main network (Eq. 1 to 6).

    :math:`\tau^2\, KL(\mathrm{softmax}(s\,\hat Z_m / \tau) \,\|\,
    \mathrm{softmax}(s\,\hat Z_s / \tau))`, averaged over the batch. Computed
    in float32 at least, with autocast off: half precision overflows.

    Args:
        subnet_logits: (N, num_classes).
        main_logits: (N, num_classes); a fixed target, which gets no gradient.
        normalize: See :func:`normalize_logits`; ``None`` is plain KL. With
            'l2' and many classes the loss is tiny unless ``scale`` is large.
        scale: Factor s on the normalised logits.
        temperature: Temperature :math:`\tau`; the factor :math:`\tau^2` keeps
            the gradient's size.

    Returns:
        Tensor: A scalar.

    Raises:
        ValueError: If the shapes differ, or are not (N, num_classes).

    Example:
        >>> logits = torch.tensor([[1.0, 2.0, 4.0]])
        >>> kl_minus(3 * logits, logits).item() < 1e-6  # one direction
        True
    """
    if subnet_logits.shape != main_logits.shape or subnet_logits.ndim != 2:
        raise ValueError(
            'logits of the subnet and of the main network must both have '
            f'shape (N, num_classes), not {tuple(subnet_logits.shape)} and '
            f'{tuple(main_logits.shape)}'
        )
    with torch.autocast(subnet_logits.device.type, enabled=False):
        log_p_main, log_p_subnet = (
            F.log_softmax(
                normalize_logits(z, normalize, scale) / temperature, 1
            )
            for z in (main_logits.detach(), subnet_logits)
        )
        divergence = F.kl_div(
            log_p_subnet, log_p_main, reduction='batchmean', log_target=True
        )
    return temperature**2 * divergence
