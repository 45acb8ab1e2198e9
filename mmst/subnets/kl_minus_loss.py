"""KL-: the Kullback-Leibler divergence of logits without their magnitude."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .options import check_number

NORMALIZATIONS = ('l2', 'standardize', None)

# The released code's. Variances below it count as zero.
EPS = 1e-7


def normalize_logits(
    logits: Tensor, normalize: Optional[str], scale: float = 1.0
) -> Tensor:
    """Normalise (N, num_classes) logits, in float32 at least.

    Args:
        logits: The logits.
        normalize: 'standardize' gives each vector zero mean and unit variance
            over the classes, as the authors' released code does (its norm is
            then the square root of the number of classes). 'l2' divides it by
            its L2 norm, exactly as in the paper (Eq. 4). ``None`` does
            nothing.
        scale: Factor on the result.

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
        normalize: Form of :func:`normalize_logits`; ``None``: plain KL. With
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


class KLMinusLoss(nn.Module):
    """KL- loss (Eq. 4 to 6): align logit directions, not magnitudes.

    Args:
        normalize: 'standardize', 'l2' or ``None``, plain KL (Eq. 1 to 3); see
            :func:`mmst.subnets.kl_minus`.
        scale: Factor on the normalised logits.
        temperature: Temperature; its square is a factor on the divergence.
        loss_weight: Factor on the divergence, the paper's lambda.

    Raises:
        ValueError: If the value of an option is not allowed.

    Example:
        >>> main = torch.tensor([[1.0, 2.0, 4.0]])
        >>> KLMinusLoss('standardize')(3 * main, main).item() < 1e-6
        True
    """

    def __init__(
        self,
        normalize: Optional[str] = 'standardize',
        scale: float = 1.0,
        temperature: float = 1.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if normalize not in NORMALIZATIONS:
            raise ValueError(
                f'KLMinusLoss: normalize {normalize!r} is not '
                f'one of {list(NORMALIZATIONS)}'
            )
        check_number('KLMinusLoss: scale', scale, above=0)
        check_number('KLMinusLoss: temperature', temperature, above=0)
        check_number('KLMinusLoss: loss_weight', loss_weight, least=0)
        self.normalize = normalize
        self.scale = scale
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, subnet_logits: Tensor, main_logits: Tensor) -> Tensor:
        """Compute :func:`mmst.subnets.kl_minus`, times ``loss_weight``."""
        return self.loss_weight * kl_minus(
            subnet_logits,
            main_logits,
            self.normalize,
            self.scale,
            self.temperature,
        )

    def normalize_logits(self, logits: Tensor) -> Tensor:
        """Normalise (N, num_classes) logits as before the softmax."""
        return normalize_logits(logits, self.normalize, self.scale)

    def extra_repr(self) -> str:
        """Return the options, for ``print(model)``."""
        return (
            f'normalize={self.normalize!r}, scale={self.scale}, temperature='
            f'{self.temperature}, loss_weight={self.loss_weight}'
        )
