"""Read checkpoint files without running code, and write them atomically."""

import hashlib
import os
from pathlib import Path
from typing import Any, Dict, Optional, Union

import torch
from torch import Tensor

from .safe_load import read_safetensors, safe_load

StateDict = Dict[str, Tensor]

#: Entries in which projects store weights, beside the optimizer and so on.
WEIGHT_ENTRIES = ('state_dict', 'model', 'state_dict_ema', 'model_ema')


def read_checkpoint(path: Union[str, Path]) -> Dict[str, Any]:
    """Load the weights of a checkpoint, and what is beside them, on the CPU.

    Objects of unknown classes are replaced by placeholders; see
    :func:`mmst.checkpoints.safe_load.safe_load`. ``.safetensors`` files are
    read too.

    Raises:
        ModuleNotFoundError: If the file needs the package safetensors.
        mmst.checkpoints.safe_load.DamagedCheckpointError: If the file is
            empty, cut short or something else.
        ValueError: If it holds anything but a dict.

    Example:
        >>> torch.save(dict(state_dict=model.state_dict()), folder / 'a.pth')
        >>> list(read_checkpoint(folder / 'a.pth'))
        ['state_dict']
    """
    if Path(path).suffix == '.safetensors':
        return read_safetensors(path)
    with safe_load():
        checkpoint = torch.load(str(path), map_location='cpu')
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{path} holds a {type(checkpoint).__name__}; a checkpoint is a '
            'dict of tensors, or a dict with such a dict in it'
        )
    return checkpoint


def is_state_dict(value: Any) -> bool:
    """Whether this is a non-empty dict of named tensors."""
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(isinstance(key, str) for key in value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )


def select_state_dict(
    checkpoint: Dict[str, Any], entry: Optional[str] = None
) -> StateDict:
    """Take the weights out of a checkpoint.

    Args:
        checkpoint: A state dict, or a dict that holds one beside an optimizer
            and so on.
        entry: The entry with the weights. Default: the one of
            ``WEIGHT_ENTRIES`` that exists.

    Returns:
        dict: The weights, without the prefixes of trainers: ``module.`` of
        data parallel training and of torch's averaging (which also adds
        ``n_averaged``), and ``model.`` of Lightning.

    Raises:
        ValueError: If there are no weights, or several and none is chosen.

    Example:
        >>> weights = {'module.fc.bias': torch.ones(1)}
        >>> select_state_dict(dict(state_dict=weights))
        {'fc.bias': tensor([1.])}
    """
    if entry is None and is_state_dict(checkpoint):
        weights = dict(checkpoint)
    else:
        names = WEIGHT_ENTRIES if entry is None else (entry,)
        found = [name for name in names if is_state_dict(checkpoint.get(name))]
        if len(found) != 1:
            raise ValueError(
                'The checkpoint must have a dict of tensors in one of '
                f'{list(names)}, but has {found or "none"}; its entries are '
                f'{sorted(map(str, checkpoint))[:20]}. Choose the one with '
                'the weights with --entry (argument `entry`)'
            )
        weights = dict(checkpoint[found[0]])
    weights.pop('n_averaged', None)  # torch.optim.swa_utils.AveragedModel
    for prefix in ('module.', 'model.', 'module.'):
        if weights and all(key.startswith(prefix) for key in weights):
            weights = {
                key[len(prefix) :]: value for key, value in weights.items()
            }
    return weights


def write_checkpoint(
    checkpoint: Dict[str, Any],
    path: Union[str, Path],
    name_with_hash: bool = False,
) -> Path:
    """Write a checkpoint; the file appears only once it is complete.

    Args:
        checkpoint: The content.
        path: The file; missing folders are created.
        name_with_hash: Whether to write ``NAME-<hash>.pth`` instead of
            ``NAME.pth``, with the first 8 digits of the file's SHA-256, as
            OpenMMLab names its files and ``torch.hub`` checks them. Equal
            weights give equal files.

    Returns:
        Path: The file.

    Example:
        >>> checkpoint = dict(state_dict=model.state_dict())
        >>> path = write_checkpoint(
        ...     checkpoint, folder / 'net.pth', name_with_hash=True)
        >>> path.name.startswith('net-')
        True
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        # An open file: given a path, torch would write its name into it.
        with open(part, 'wb') as file:
            torch.save(checkpoint, file)
        if name_with_hash:
            stem = path.name[:-4] if path.suffix == '.pth' else path.name
            digest = hashlib.sha256(part.read_bytes()).hexdigest()
            path = path.with_name(f'{stem}-{digest[:8]}.pth')
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
