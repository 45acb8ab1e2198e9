"""Reduce a training checkpoint to what others can use."""

import warnings
from typing import Any, Dict, List

import numpy as np
import torch

from .checkpoint_file import StateDict, is_state_dict


def strip_checkpoint(checkpoint: Dict[str, Any]) -> Dict[str, Any]:
    """Keep only the weights of a run and its ``dataset_meta``.

    Optimizer, schedulers, message hub, config, paths and host are removed.
    With MMEngine's ``EMAHook`` the saved ``state_dict`` is already the
    averaged network that validation and ``tools/test.py`` evaluate. The raw
    weights to resume from are in ``ema_state_dict``, despite its name, and are
    removed.

    Args:
        checkpoint: As saved by MMEngine's runner.

    Returns:
        ``state_dict``, each tensor on the CPU in its own storage, and
        ``meta`` with ``dataset_meta`` if that holds plain values only.
        (mmpose's has arrays, which ``weights_only`` refuses; mmpose then
        takes it from the config.)

    Raises:
        ValueError: If there is no ``state_dict`` of tensors.

    Example:
        >>> checkpoint = dict(state_dict=model.state_dict(), optimizer={})
        >>> list(strip_checkpoint(checkpoint))
        ['state_dict', 'meta']
    """
    state_dict = checkpoint.get('state_dict')
    if not is_state_dict(state_dict):
        raise ValueError(
            "The checkpoint has no dict of tensors in 'state_dict'; publish "
            'what an MMEngine run or tools/model_converters/ has written. '
            f'Its entries: {sorted(map(str, checkpoint))[:20]}'
        )
    _check_statistics(checkpoint)
    weights: StateDict = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in state_dict.items()
    }
    meta = {}
    if 'dataset_meta' in checkpoint.get('meta', {}):
        try:
            meta['dataset_meta'] = _make_plain(
                checkpoint['meta']['dataset_meta']
            )
        except TypeError:
            pass
    return dict(state_dict=weights, meta=meta)


def _make_plain(value: Any) -> Any:
    """Convert a value to types that ``torch.load(weights_only=True)`` reads.

    Raises:
        TypeError: If it contains any other type.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {
            _make_plain(key): _make_plain(entry)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        entries = [_make_plain(entry) for entry in value]
        return tuple(entries) if isinstance(value, tuple) else entries
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(type(value).__name__)


def _check_statistics(checkpoint: Dict[str, Any]) -> None:
    """Warn if the run validated with other BatchNorm statistics.

    EMAHook copies buffers in every iteration. Later changes, such as those of
    PreciseBNHook, reach the network that the run validates, but not the saved
    average.
    """
    twin = checkpoint.get('ema_state_dict') or {}
    changed: List[str] = [
        key
        for key, tensor in checkpoint['state_dict'].items()
        if key.endswith(('.running_mean', '.running_var'))
        and f'module.{key}' in twin
        and not torch.equal(tensor, twin[f'module.{key}'])
    ]
    config = str(checkpoint.get('meta', {}).get('cfg', ''))
    if changed and 'update_buffers=True' not in config:
        warnings.warn(
            f'{len(changed)} BatchNorm statistics ({changed[0]}, ...) were '
            'changed after EMAHook had copied them. The published ones are '
            'those that tools/test.py evaluates; the accuracy in the log is '
            'that of the changed ones. Test the published file before you '
            'state its accuracy.',
            stacklevel=2,
        )
