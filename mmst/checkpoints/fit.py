"""How much of a network a checkpoint fills.

MMEngine loads the tensors that fit and only warns about the others, even if
none fits, and goes on with random weights.
"""

import logging
import re
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from mmengine.logging import print_log
from mmengine.model import PretrainedInit, is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import Tensor, nn

Tensors = Dict[str, Tensor]


@contextmanager
def check_fit(refusal: Optional[str] = None) -> Iterator[None]:
    """Check every checkpoint that MMEngine loads inside the block.

    That is the checkpoint of a runner, and those of each ``init_cfg`` of type
    'Pretrained'. Tensors count as loaded if they were written to, so layers
    that rename the keys of older files are understood.

    Args:
        refusal: The advice with which an error ends if the runner's
            checkpoint fills a part of its model only. Default: a warning.

    Raises:
        FileNotFoundError: Inside the block, if the file of an ``init_cfg``
            does not exist.
        ValueError: Inside the block, if a checkpoint fills no tensor of a
            network, or, with ``refusal``, not all of them.
    """
    initialize, load = PretrainedInit.__call__, Runner.load_checkpoint

    def initialize_and_check(self: PretrainedInit, module: nn.Module) -> None:
        network = type(module).__name__
        filled = _Filled(module)
        try:
            initialize(self, module)
        except FileNotFoundError:
            raise FileNotFoundError(
                f'{self.checkpoint}, pretrained weights for {network}, does '
                f'not exist: {_explain_setting(network)}'
            ) from None
        # MMEngine's errors for files without weights or without the prefix.
        except (AssertionError, AttributeError, RuntimeError):
            if filled.share > 0:
                raise
        if filled.share == 0:
            raise ValueError(
                f'{self.checkpoint}: none of its keys fits {network}, which '
                f'would keep random weights.\n'
                f'In the file: {_name_first(_read_keys(self.checkpoint))}\n'
                f'prefix: {self.prefix!r}\n'
                f'In the network: {_name_first(filled.keys)}\n'
                f'{_explain_setting(network)}. '
                'tools/model_converters/resnet_to_mmpretrain.py converts '
                'ResNets of other projects'
            ) from None
        if filled.share < 1:
            _warn(filled.describe(self.checkpoint, {}))

    def load_and_check(
        self: Runner, filename: str, *args: Any, **kwargs: Any
    ) -> Dict[str, Any]:
        filled = _Filled(self.model)
        checkpoint: Dict[str, Any] = load(self, filename, *args, **kwargs)
        source = _select_weights(checkpoint)
        if filled.share == 0:
            raise ValueError(
                f'{filename}: none of its {len(source)} keys fits '
                f'{filled.network}, which would keep random weights.\n'
                f'In the file: {_name_first(source)}\n'
                f'In the network: {_name_first(filled.keys)}'
            )
        if filled.share < 1:
            description = filled.describe(filename, source)
            if refusal is not None:
                raise ValueError(f'{description}\n{refusal}')
            _warn(description)
        return checkpoint

    PretrainedInit.__call__ = initialize_and_check
    Runner.load_checkpoint = load_and_check
    try:
        yield
    finally:
        PretrainedInit.__call__, Runner.load_checkpoint = initialize, load


class _Filled:
    """The tensors of a network that were written to since this was made."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model.module if is_model_wrapper(model) else model
        self._before: Dict[str, Tuple[Tensor, int]] = {
            key: (tensor, tensor._version)
            for key, tensor in self._read_tensors().items()
        }
        self.keys = list(self._before)
        self.network = type(self._model).__name__

    def _read_tensors(self) -> Tensors:
        return {
            key: tensor
            for key, tensor in self._model.state_dict(keep_vars=True).items()
            # Files from before torch 0.4.1 have no counters of batches.
            if isinstance(tensor, Tensor)
            and not key.endswith('num_batches_tracked')
        }

    def list_left(self) -> Tensors:
        """Return the tensors that were not written to, by key.

        Of a sharded model, whose state dict has new copies in each call, that
        is none.
        """
        now = self._read_tensors()
        return {
            key: tensor
            for key, (tensor, version) in self._before.items()
            if now.get(key) is tensor and tensor._version == version
        }

    @property
    def share(self) -> float:
        """The share of the network's numbers that were written, 0 to 1."""
        total = sum(tensor.numel() for tensor, _ in self._before.values())
        left = sum(tensor.numel() for tensor in self.list_left().values())
        return 1 - left / total if total else 1.0

    def describe(self, checkpoint: str, source: Dict[str, Any]) -> str:
        """Say how much was loaded, and which tensors were not.

        Args:
            checkpoint: Name of the file.
            source: The weights in the file, as far as they are known.
        """
        left = self.list_left()
        num_loaded = len(self.keys) - len(left)
        names: List[str] = []
        for key, tensor in list(left.items())[:4]:
            found = source.get(key)
            if isinstance(found, Tensor) and found.shape != tensor.shape:
                key += f' {tuple(found.shape)} in place of '
                key += f'{tuple(tensor.shape)}'
            names.append(key)
        if len(left) > len(names):
            names.append('...')
        return (
            f'{checkpoint} fills {num_loaded} of {len(self.keys)} tensors of '
            f'{self.network}, {100 * self.share:.1f} % of its weights. '
            'Missing in the file, or of another shape there: '
            + ', '.join(names)
        )


def _warn(message: str) -> None:
    print_log(message, 'current', level=logging.WARNING)


def _select_weights(checkpoint: Dict[str, Any]) -> Dict[str, Any]:
    """Select the weights that MMEngine loads, by their keys there."""
    weights = checkpoint.get('state_dict', checkpoint)
    return {
        re.sub(r'^module\.', '', key): value for key, value in weights.items()
    }


def _read_keys(checkpoint: str) -> Iterable[str]:
    source = CheckpointLoader.load_checkpoint(checkpoint, 'cpu', 'silent')
    if not isinstance(source, dict):
        return [f'a {type(source).__name__}, no dict of tensors']
    return map(str, source.get('state_dict', source))


def _name_first(keys: Iterable[str]) -> str:
    return ', '.join([*list(keys)[:3], '...'])


def _explain_setting(network: str) -> str:
    return (
        f'set `checkpoint` and `prefix` in the init_cfg of {network}; '
        'for a backbone, on the command line: --cfg-options '
        'model.backbone.init_cfg.checkpoint=FILE '
        'model.backbone.init_cfg.prefix=PREFIX (None if the keys have none)'
    )
