"""Count multiply-adds, attention included."""

from contextlib import contextmanager
from typing import Any, Callable, ContextManager, Iterator

import torch
from torch.overrides import BaseTorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def count_flops() -> Iterator[Callable[[], int]]:
    """Count the multiply-adds of all PyTorch operations inside.

    Yields:
        A function that returns their number so far, or the total afterwards.

    Example:
        >>> with count_flops() as flops:
        ...     product = torch.ones(2, 3) @ torch.ones(3, 4)
        >>> flops()
        24
    """
    counter = FlopCounterMode(display=False)
    # Without gradients, nn.MultiheadAttention and nn.TransformerEncoderLayer
    # run as one operation that has no formula, unless functions are
    # overridden. This mode overrides them and changes none.
    with BaseTorchFunctionMode(), _use_math_attention(), counter:
        # PyTorch counts the multiplication and the addition.
        yield lambda: counter.get_total_flops() // 2


def _use_math_attention() -> ContextManager[Any]:
    """Run attention as matrix products: some fused kernels have no formula."""
    try:
        from torch.nn.attention import (  # type: ignore[import-not-found]
            SDPBackend,
            sdpa_kernel,
        )
    except ImportError:  # its older name, deprecated later
        return torch.backends.cuda.sdp_kernel(
            enable_flash=False, enable_mem_efficient=False
        )
    return sdpa_kernel(SDPBackend.MATH)
