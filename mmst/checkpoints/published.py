"""Reduce a training checkpoint to what others can use."""

import warnings
from datetime import date, time
from pathlib import PurePath
from typing import Any, Dict

import numpy as np
import torch

from .checkpoint_file import StateDict, is_state_dict


def strip_checkpoint(checkpoint: Dict[str, Any]) -> Dict[str, Any]:
    """Keep only the weights of a run and its ``dataset_meta``.

    With MMEngine's ``EMAHook`` the saved ``state_dict`` is already the
    averaged network that validation and ``tools/test.py`` evaluate;
    ``ema_state_dict``, which has the raw weights, is removed. So are weights
    of the loss between subnets and the main network (``loss_kl`` of
    ``STClsHead``), with a warning: no plain model has them.

    Args:
        checkpoint: A checkpoint of MMEngine's runner.

    Returns:
        ``state_dict``, each tensor on the CPU in its own storage, and
        ``meta`` with ``dataset_meta`` (names of classes, palettes, skeletons)
        in plain values, so that ``torch.load(weights_only=True)`` reads it:
        arrays become lists, paths and dates text. Entries of other classes
        are left out with a warning.

    Raises:
        ValueError: If there is no ``state_dict`` of tensors.

    Example:
        >>> checkpoint = dict(state_dict=model.state_dict(), optimizer={})
        >>> list(strip_checkpoint(checkpoint))
        ['state_dict', 'meta']
    """
    state_dict: StateDict = checkpoint.get('state_dict', {})
    if not is_state_dict(state_dict):
        raise ValueError(
            "The checkpoint has no dict of tensors in 'state_dict'; publish "
            'what an MMEngine run or tools/model_converters/ has written. '
            f'Its entries: {sorted(map(str, checkpoint))[:20]}'
        )
    _check_statistics(checkpoint)
    of_loss = [key for key in state_dict if key.startswith('head.loss_kl.')]
    if of_loss:
        warnings.warn(
            f'{of_loss} are left out: they belong to the loss of the '
            'training, not to the network',
            stacklevel=2,
        )
    weights: StateDict = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in state_dict.items()
        if key not in of_loss
    }
    kept = {
        key: value
        for key, value in checkpoint.get('meta', {}).items()
        if key == 'dataset_meta'
    }
    return dict(state_dict=weights, meta=_make_plain(kept, 'meta'))


def _make_plain(value: Any, name: str) -> Any:
    """Convert a value to types that ``torch.load(weights_only=True)`` reads.

    Entries of dicts for which that raises a ``TypeError`` are left out with a
    warning, which calls the dict by this name.
    """
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        value = value.tolist()
    if isinstance(value, dict):
        plain = {}
        for key, entry in value.items():
            try:
                key = _make_plain(key, name)
                plain[key] = _make_plain(entry, f'{name}[{key!r}]')
            except TypeError as error:
                warnings.warn(
                    f'{name}[{key!r}] is not published: {error} is neither '
                    'plain nor an array',
                    stacklevel=2,
                )
        return plain
    if isinstance(value, (list, range, set, frozenset)):
        return [_make_plain(entry, name) for entry in value]
    if isinstance(value, tuple):
        return tuple(_make_plain(entry, name) for entry in value)
    if isinstance(value, (PurePath, date, time)):
        return str(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(type(value).__name__)


def _check_statistics(checkpoint: Dict[str, Any]) -> None:
    """Warn if the run validated with other BatchNorm statistics.

    Changes after EMAHook's copy in each iteration, such as PreciseBNHook's,
    reach the network that the run validates, but not the saved average.
    """
    twin = checkpoint.get('ema_state_dict') or {}
    changed = [
        key
        for key, tensor in checkpoint['state_dict'].items()
        if key.endswith(('.running_mean', '.running_var'))
        and not torch.equal(tensor, twin.get(f'module.{key}', tensor))
    ]
    config = str(checkpoint.get('meta', {}).get('cfg', ''))
    if changed and 'update_buffers=True' not in config:
        warnings.warn(
            f'{len(changed)} BatchNorm statistics ({changed[0]}, ...) were '
            'changed after EMAHook had copied them. The published ones are '
            'those that tools/test.py evaluates, not those of the accuracy in '
            'the log: test the published file before you state its accuracy',
            stacklevel=2,
        )
