"""KL-: the Kullback-Leibler divergence of logits freed of their magnitude."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmst.registry import MODELS

NORMALIZATIONS = ('l2', 'standardize', None)


@MODELS.register_module()
class KLMinusLoss(nn.Module):
    r"""KL- loss (Eq. 4 to 6): align logit directions, not magnitudes.

    :math:`L = w\,\tau^2\, KL(\mathrm{softmax}(s\,\hat Z_m / \tau) \,\|\,
    \mathrm{softmax}(s\,\hat Z_s / \tau))`, averaged over the batch, with the
    main network's logits :math:`Z_m` as a fixed target.

    'l2' divides each logit vector by its L2 norm, as Eq. 4 does. A unit
    vector's softmax over many classes is nearly flat, so that the loss is
    tiny unless ``scale`` makes up for it. 'standardize' gives it zero mean
    and unit variance over the classes, as the authors' released code does
    (the norm is then the square root of the number of classes). ``None`` is
    plain KL (Eq. 1 to 3).

    Args:
        normalize: 'l2', 'standardize' or None.
        scale: Factor s on the normalised logits.
        temperature: Temperature :math:`\tau`; the loss carries the customary
            factor :math:`\tau^2`, which keeps the gradient's size.
        loss_weight: Weight w; the paper's lambda.

    Raises:
        ValueError: If an option has a value that it cannot have.
    """

    # As in the released code; next to it a standardised vector's variance
    # counts as zero.
    eps = 1e-7

    def __init__(
        self,
        normalize: Optional[str] = 'l2',
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
        for name, value in (('scale', scale), ('temperature', temperature)):
            if not value > 0:
                raise ValueError(f'KLMinusLoss: {name} {value} is not above 0')
        if loss_weight < 0:
            raise ValueError(
                f'KLMinusLoss: loss_weight {loss_weight} is below 0'
            )
        self.normalize = normalize
        self.scale = scale
        self.temperature = temperature
        self.loss_weight = loss_weight

    def forward(self, subnet_logits: Tensor, main_logits: Tensor) -> Tensor:
        """Divergence of a subnet from the main network.

        Computed in float32 at least, with autocast off: half precision
        overflows.

        Args:
            subnet_logits: (N, num_classes).
            main_logits: (N, num_classes); gets no gradient.

        Returns:
            Tensor: A scalar.

        Raises:
            ValueError: If the two shapes differ.
        """
        if subnet_logits.shape != main_logits.shape:
            raise ValueError(
                f'logits of the subnet, {tuple(subnet_logits.shape)}, and of '
                f'the main network, {tuple(main_logits.shape)}, differ in '
                'shape'
            )
        with torch.autocast(subnet_logits.device.type, enabled=False):
            log_p_main, log_p_subnet = (
                F.log_softmax(self.normalize_logits(z) / self.temperature, 1)
                for z in (main_logits.detach(), subnet_logits)
            )
            divergence = F.kl_div(
                log_p_subnet,
                log_p_main,
                reduction='batchmean',
                log_target=True,
            )
        return self.loss_weight * self.temperature**2 * divergence

    def normalize_logits(self, logits: Tensor) -> Tensor:
        """The logits that the softmax sees, in float32 at least.

        Args:
            logits: (N, num_classes).
        """
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if self.normalize is not None:
            # Squares of huge logits overflow. Neither normalisation depends
            # on the magnitude, so take it out first where there is much.
            logits = logits / logits.detach().abs().amax(
                1, keepdim=True
            ).clamp(min=1e6).div(1e6)
        if self.normalize == 'l2':
            norm = logits.norm(dim=1, keepdim=True)
            # A vector that is practically zero has no direction: leave it,
            # rather than blow up its gradient.
            logits = logits / torch.where(norm > self.eps, norm, 1.0)
        elif self.normalize == 'standardize':
            logits = F.layer_norm(logits, logits.shape[1:], eps=self.eps)
        return logits * self.scale

    def extra_repr(self) -> str:
        """The options, for ``print(model)``."""
        return (
            f'normalize={self.normalize!r}, scale={self.scale}, '
            f'temperature={self.temperature}, '
            f'loss_weight={self.loss_weight}'
        )
