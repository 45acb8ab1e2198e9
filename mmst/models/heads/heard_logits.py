"""Record the logits that a head computes inside its own methods."""

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Tuple

from torch import Tensor, nn

# The logits of one call, and the call's arguments besides the features.
Heard = Tuple[List[Tensor], List[Any]]


@contextmanager
def hear_logits(
    head: nn.Module, change: Callable[[Tensor], Tensor]
) -> Iterator[List[Heard]]:
    """Record a head's logits, and change them before it uses them.

    mmpretrain's heads call themselves in ``loss`` and ``predict``, where a
    hook reads the logits.

    Args:
        head: The head.
        change: Applied to each (N, num_classes) tensor of logits.
    """
    heard: List[Heard] = []

    def listen(
        module: nn.Module,
        args: Tuple[Any, ...],
        kwargs: Dict[str, Any],
        output: Any,
    ) -> Any:
        logits = list_logits(output)
        heard.append((logits, [*args[1:], *kwargs.values()]))
        changed = [change(z) for z in logits]
        return changed[0] if isinstance(output, Tensor) else tuple(changed)

    handle = head.register_forward_hook(listen, with_kwargs=True)
    try:
        yield heard
    finally:
        handle.remove()


def get_last_heard(heard: List[Heard], head: nn.Module, method: str) -> Heard:
    """Return the logits of the last call.

    Args:
        heard: What :func:`hear_logits` recorded.
        head: The head.
        method: The method that ran.

    Raises:
        TypeError: If the method did not call the head.
    """
    if not heard:
        raise TypeError(
            f'STClsHead cannot wrap {type(head).__name__}: its '
            f'`{method}` does not call the head to get the logits'
        )
    return heard[-1]


def list_logits(logits: Any) -> List[Tensor]:
    """List the logits of a head with one or several classifiers.

    Raises:
        TypeError: If these are not tensors.
    """
    logits = [logits] if isinstance(logits, Tensor) else list(logits)
    if not all(isinstance(item, Tensor) for item in logits):
        raise TypeError(
            'STClsHead needs a head that returns one or several '
            'tensors of logits'
        )
    return logits
