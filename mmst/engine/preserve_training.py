"""Run passes without changing a training."""

from collections import OrderedDict, defaultdict, deque
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List

import torch
from mmengine.logging import MessageHub
from torch import Tensor, nn

from mmst.evaluation import preserve_random_state

Undo = Callable[[], None]


@contextmanager
def preserve_training(model: nn.Module) -> Iterator[None]:
    """Restore afterwards what a pass in training mode may change.

    These are weights and buffers (momentum encoders, queues, statistics),
    other attributes of modules (histories, counters, a head's memory), the
    message hub and the random state.

    Args:
        model: The model, bare.
    """
    undo = [_capture(vars(module)) for module in model.modules()]
    hub = MessageHub.get_current_instance()
    undo += [_capture(hub.log_scalars), _capture(hub.runtime_info)]
    with preserve_random_state():
        try:
            yield
        finally:
            for step in undo:
                step()


def _capture(value: Any) -> Undo:
    """Remember a value's content; return a function that restores it."""
    if isinstance(value, Tensor):
        return _capture_tensor(value)
    if type(value) in (dict, OrderedDict, defaultdict):
        pairs = dict(value)
        undo = [_capture(item) for item in pairs.values()]
        return lambda: _restore(value, value.update, pairs, undo)
    if type(value) in (list, deque):
        items = list(value)
        undo = [_capture(item) for item in items]
        return lambda: _restore(value, value.extend, items, undo)
    if type(value) is set:
        members = set(value)
        return lambda: _restore(value, value.update, members, [])
    return lambda: None


def _capture_tensor(tensor: Tensor) -> Undo:
    saved = tensor.detach().clone()

    def undo() -> None:
        if tensor.shape != saved.shape:  # an observer's first pass
            tensor.data = saved
        with torch.no_grad():
            tensor.copy_(saved)

    return undo


def _restore(
    container: Any, fill: Callable[[Any], Any], items: Any, undo: List[Undo]
) -> None:
    container.clear()
    fill(items)
    for step in undo:
        step()
