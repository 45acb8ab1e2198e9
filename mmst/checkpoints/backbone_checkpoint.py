"""Refuse pretrained weights of which none fits the network."""

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
        module: The network to initialise, such as a backbone.
        checkpoint: File, URL or name, as in ``init_cfg``.
        prefix: Prefix of the network's keys in the checkpoint; only keys with
            it are loaded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no tensor has the key and shape of one of the
            network's.
    """
    network = type(module).__name__
    try:
        source = CheckpointLoader.load_checkpoint(
            checkpoint, map_location='cpu', logger='silent'
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{checkpoint}, pretrained weights for {network}, does not exist: '
            + _explain_setting(network)
        ) from error
    tensors = {}
    if isinstance(source, dict):
        tensors = source.get('state_dict', source)
    wanted = module.state_dict()
    if any(
        key in wanted and wanted[key].shape == value.shape
        for key, value in _select_loaded(tensors, prefix).items()
        if isinstance(value, Tensor)
    ):
        return
    raise ValueError(
        f'{checkpoint}: none of its {len(tensors)} keys fits {network}, '
        'which would keep random weights.\n'
        f'In the file: {_name_first(tensors)}\nprefix: {prefix!r}\n'
        f'In the network: {_name_first(wanted)}\n'
        f'{_explain_setting(network)}. '
        'tools/model_converters/resnet_to_mmpretrain.py converts ResNets of '
        'other projects'
    )


@contextmanager
def refuse_unfit_pretrained() -> Iterator[None]:
    """Check every ``init_cfg`` of type 'Pretrained' before it is loaded.

    MMEngine loads what fits and only warns about the rest, even if nothing
    fits. The check is in its initializer, because networks that load weights
    in another way, such as Swin, rename the keys.

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


def _select_loaded(tensors: Tensors, prefix: Optional[str]) -> Tensors:
    """Select the tensors that MMEngine would load, by their new keys."""
    if prefix is None:
        # Data parallel training adds this prefix.
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


def _name_first(keys: Iterable[str]) -> str:
    return ', '.join([*list(keys)[:3], '...'])


def _explain_setting(network: str) -> str:
    return (
        f'set `checkpoint` and `prefix` in the init_cfg of {network}; '
        'for a backbone, on the command line: --cfg-options '
        'model.backbone.init_cfg.checkpoint=FILE '
        'model.backbone.init_cfg.prefix=PREFIX (None if the keys have none)'
    )
