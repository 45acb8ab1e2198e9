"""The loss between subnet and main network."""

from .kl_minus_loss import KLMinusLoss

__all__ = ['KLMinusLoss']
