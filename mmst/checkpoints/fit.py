"""How much of a network a checkpoint fills.

MMEngine loads the tensors that fit and only warns about the others, even if
none fits, and goes on with random weights.
"""

import logging
import re
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional

from mmengine.logging import print_log
from mmengine.model import PretrainedInit, is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import Tensor, nn


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
        ValueError: Inside the block, if a checkpoint fills no tensor of a
            network, or, with ``refusal``, not all of them.
    """
    initialize, load = PretrainedInit.__call__, Runner.load_checkpoint

    def initialize_and_check(self: PretrainedInit, module: nn.Module) -> None:
        network = type(module).__name__
        advice = (
            f'set `checkpoint` and `prefix` in the init_cfg of {network}; for '
            'a backbone, on the command line: --cfg-options '
            'model.backbone.init_cfg.checkpoint=FILE '
            'model.backbone.init_cfg.prefix=PREFIX (None if the keys have '
            'none)'
        )
        fill = _Fill(module)
        try:
            initialize(self, module)
        except FileNotFoundError:
            raise FileNotFoundError(
                f'{self.checkpoint}, pretrained weights for {network}, does '
                f'not exist: {advice}'
            ) from None
        # MMEngine's errors for files without weights or without the prefix.
        except (AssertionError, AttributeError, RuntimeError):
            if not fill.is_nothing:
                raise
        source = {}
        if fill.is_nothing:
            source = CheckpointLoader.load_checkpoint(
                self.checkpoint, 'cpu', 'silent'
            )
        fill.judge(
            self.checkpoint,
            source,
            f'prefix: {self.prefix!r}\n{advice}. tools/model_converters/'
            'resnet_to_mmpretrain.py converts ResNets of other projects',
        )

    def load_and_check(
        self: Runner, filename: str, *args: Any, **kwargs: Any
    ) -> Dict[str, Any]:
        fill = _Fill(self.model)
        checkpoint: Dict[str, Any] = load(self, filename, *args, **kwargs)
        fill.judge(filename, checkpoint, '', refusal)
        return checkpoint

    PretrainedInit.__call__ = initialize_and_check
    Runner.load_checkpoint = load_and_check
    try:
        yield
    finally:
        PretrainedInit.__call__, Runner.load_checkpoint = initialize, load


class _Fill:
    """The tensors of a network that were written to since this was made."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model.module if is_model_wrapper(model) else model
        self._before = {
            key: (tensor, tensor._version)
            for key, tensor in self._read_tensors().items()
        }

    def _read_tensors(self) -> Dict[str, Tensor]:
        return {
            key: tensor
            for key, tensor in self._model.state_dict(keep_vars=True).items()
            # Files from before torch 0.4.1 have no counters of batches.
            if isinstance(tensor, Tensor)
            and tensor.numel() > 0
            and not key.endswith('num_batches_tracked')
        }

    def _list_left(self) -> Dict[str, Tensor]:
        """List the tensors that were not written to.

        A sharded model, whose state dict has new copies in each call, has
        none.
        """
        now = self._read_tensors()
        return {
            key: tensor
            for key, (tensor, version) in self._before.items()
            if now.get(key) is tensor and tensor._version == version
        }

    @property
    def is_nothing(self) -> bool:
        """Whether no tensor was written to, of those that there are."""
        return 0 < len(self._before) == len(self._list_left())

    def judge(
        self,
        file: str,
        checkpoint: Any,
        advice: str,
        refusal: Optional[str] = None,
    ) -> None:
        """Refuse a file that fills nothing, and tell of one that fills a part.

        The error about the first ends with ``advice``; with a ``refusal``,
        which ends it, there is one about the second too.
        """
        network = type(self._model).__name__
        source = _select_weights(checkpoint)
        if self.is_nothing:
            raise ValueError(
                f'{file}: none of its keys fits {network}, which would keep '
                'random weights.\n'
                f'In the file: {", ".join([*source][:3])}, ...\n'
                f'In the network: {", ".join([*self._before][:3])}, ...\n'
                + advice
            )
        left = self._list_left()
        if not left:
            return
        total = sum(tensor.numel() for tensor, _ in self._before.values())
        share = 1 - sum(tensor.numel() for tensor in left.values()) / total
        names = []
        for key, tensor in list(left.items())[:4]:
            shape = getattr(source.get(key), 'shape', tensor.shape)
            if shape != tensor.shape:
                key += f' {tuple(shape)} in place of {tuple(tensor.shape)}'
            names.append(key)
        text = (
            f'{file} fills {len(self._before) - len(left)} of '
            f'{len(self._before)} tensors of {network}, {100 * share:.1f} % '
            'of its weights. Missing in the file, or of another shape there: '
            + ', '.join([*names, '...'][: len(left)])
        )
        if refusal is not None:
            raise ValueError(f'{text}\n{refusal}')
        print_log(text, 'current', level=logging.WARNING)


def _select_weights(checkpoint: Any) -> Dict[str, Any]:
    """Select the weights that MMEngine loads, by their keys there."""
    if not isinstance(checkpoint, dict):
        return {f'a {type(checkpoint).__name__}, no dict': checkpoint}
    weights = checkpoint.get('state_dict', checkpoint)
    return {
        re.sub(r'^module\.', '', str(key)): value
        for key, value in weights.items()
    }
