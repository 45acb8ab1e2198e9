"""KL-: the Kullback-Leibler divergence of logits without their magnitude."""

from typing import Optional

from torch import Tensor, nn

from mmst.registry import MODELS
from mmst.subnets import kl_minus, normalize_logits
from mmst.subnets.kl_minus import NORMALIZATIONS
from mmst.subnets.options import check_number


@MODELS.register_module()
class KLMinusLoss(nn.Module):
    r"""KL- loss (Eq. 4 to 6): align logit directions, not magnitudes.

    :math:`L = w\,\tau^2\, KL(\mathrm{softmax}(s\,\hat Z_m / \tau) \,\|\,
    \mathrm{softmax}(s\,\hat Z_s / \tau))`, averaged over the batch, with the
    main network's logits :math:`Z_m` as a fixed target.

    Args:
        normalize: 'standardize', 'l2' or ``None``, plain KL (Eq. 1 to 3); see
            :func:`mmst.subnets.kl_minus`.
        scale: Factor s on the normalised logits.
        temperature: Temperature :math:`\tau`; the usual factor :math:`\tau^2`
            keeps the gradient's size.
        loss_weight: Weight w; the paper's lambda.

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
        """Compute the divergence of a subnet from the main network, a scalar.

        Args:
            subnet_logits: (N, num_classes).
            main_logits: (N, num_classes); gets no gradient.

        Raises:
            ValueError: If the two shapes differ.
        """
        return self.loss_weight * kl_minus(
            subnet_logits,
            main_logits,
            self.normalize,
            self.scale,
            self.temperature,
        )

    def normalize_logits(self, logits: Tensor) -> Tensor:
        """Normalise logits as before the softmax, in float32 at least.

        Args:
            logits: (N, num_classes).
        """
        return normalize_logits(logits, self.normalize, self.scale)

    def extra_repr(self) -> str:
        """Return the options, for ``print(model)``."""
        return (
            f'normalize={self.normalize!r}, scale={self.scale}, '
            f'temperature={self.temperature}, '
            f'loss_weight={self.loss_weight}'
        )
