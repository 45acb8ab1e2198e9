"""Refuse pretrained weights from which a network would take nothing."""

import re
from contextlib import contextmanager
from typing import Dict, Iterable, Iterator, Optional

from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

Tensors = Dict[str, Tensor]


def check_pretrained(
    module: nn.Module, checkpoint: str, prefix: Optional[str] = None
) -> None:
    """Check that a checkpoint has at least one tensor for a network.

    Args:
        module: The network to start, a backbone for instance.
        checkpoint: File, URL or name, as ``init_cfg`` takes it.
        prefix: What the keys of the network's tensors begin with in the
            checkpoint; these alone are loaded then.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no tensor has the key and the shape of one of the
            network's.
    """
    network = type(module).__name__
    try:
        source = CheckpointLoader.load_checkpoint(
            checkpoint, map_location='cpu', logger='silent'
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{checkpoint}, pretrained weights for {network}, is not there: '
            + _where(network)
        ) from error
    tensors = {}
    if isinstance(source, dict):
        tensors = source.get('state_dict', source)
    wanted = module.state_dict()
    if any(
        key in wanted and wanted[key].shape == value.shape
        for key, value in _as_loaded(tensors, prefix).items()
        if isinstance(value, Tensor)
    ):
        return
    raise ValueError(
        f'{checkpoint}: none of its {len(tensors)} keys fits {network}, '
        'which would start from random weights.\n'
        f'In the file: {_first(tensors)}\nprefix: {prefix!r}\n'
        f'In the network: {_first(wanted)}\n'
        f'{_where(network)}. tools/model_converters/resnet_to_mmpretrain.py '
        'converts ResNets of other projects'
    )


@contextmanager
def refuse_unfit_pretrained() -> Iterator[None]:
    """Check every ``init_cfg`` of type 'Pretrained' before it is loaded.

    MMEngine itself loads what fits and warns about the rest, even if that is
    everything. The check is at its initializer, since only networks that load
    by it have the checkpoint's keys: some others (Swin, for one) rename the
    keys that they read, in code of their own.

    Raises:
        FileNotFoundError, ValueError: Inside the block; see
            :func:`check_pretrained`.
    """
    initialize = PretrainedInit.__call__

    def check_and_initialize(self: PretrainedInit, module: nn.Module) -> None:
        check_pretrained(module, self.checkpoint, self.prefix)
        initialize(self, module)

    PretrainedInit.__call__ = check_and_initialize
    try:
        yield
    finally:
        PretrainedInit.__call__ = initialize


def _as_loaded(tensors: Tensors, prefix: Optional[str]) -> Tensors:
    """The tensors that MMEngine would load, by the keys they would have."""
    if prefix is None:
        # What data parallel training puts before each key.
        return {
            re.sub(r'^module\.', '', key): value
            for key, value in tensors.items()
        }
    start = prefix.rstrip('.') + '.'
    return {
        key[len(start) :]: value
        for key, value in tensors.items()
        if key.startswith(start)
    }


def _first(keys: Iterable[str]) -> str:
    return ', '.join([*list(keys)[:3], '...'])


def _where(network: str) -> str:
    return (
        f'set `checkpoint` and `prefix` in the init_cfg of {network}, '
        'for a backbone on the command line by --cfg-options '
        'model.backbone.init_cfg.checkpoint=FILE '
        'model.backbone.init_cfg.prefix=PREFIX (None where the keys have '
        'none)'
    )
