"""What of a training checkpoint is for others to use."""

import warnings
from typing import Any, Dict, List

import numpy as np
import torch

from .checkpoint_file import StateDict, is_state_dict


def strip_checkpoint(checkpoint: Dict[str, Any]) -> Dict[str, Any]:
    """Keep the weights of a run and what its classes are called.

    Optimizer, schedulers, message hub, config, paths and host go. With
    MMEngine's ``EMAHook`` the saved ``state_dict`` already is the averaged
    network, which validation and ``tools/test.py`` evaluate; the raw weights,
    to resume from, are in ``ema_state_dict`` in spite of its name, and go.

    Args:
        checkpoint: As MMEngine's runner saves it.

    Returns:
        ``state_dict``, each tensor on the CPU in storage of its own, and
        ``meta`` with ``dataset_meta``, if that is made of plain values.
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
            meta['dataset_meta'] = _plain(checkpoint['meta']['dataset_meta'])
        except TypeError:
            pass
    return dict(state_dict=weights, meta=meta)


def _plain(value: Any) -> Any:
    """The value in types that ``torch.load(weights_only=True)`` reads.

    Raises:
        TypeError: If it has another.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        entries = [_plain(entry) for entry in value]
        return tuple(entries) if isinstance(value, tuple) else entries
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(type(value).__name__)


def _check_statistics(checkpoint: Dict[str, Any]) -> None:
    """Warn where validation in the run used other BatchNorm statistics.

    EMAHook copies buffers in every iteration. What changes them afterwards,
    as PreciseBNHook does, reaches the network that the run validates, but not
    the saved average.
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
            'changed after EMAHook had copied them. Published are those that '
            'tools/test.py evaluates; the accuracy in the log of the run is '
            'with the changed ones. Test the published file before you state '
            'its accuracy.',
            stacklevel=2,
        )
