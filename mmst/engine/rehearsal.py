"""The first iteration on a copy of the model, before it is trained.

Settings that cannot be right are rejected at once, instead of training wrong
in silence, or failing hours later.
"""

import copy
import time
from contextlib import ExitStack
from random import Random
from typing import Any, List, Optional, Tuple

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object, get_world_size
from mmengine.optim import AmpOptimWrapper
from torch import Tensor, nn
from torch.utils.data import (
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
)

from mmst.subnets import (
    PassRunner,
    Subnet,
    SubnetSampler,
    activate,
    find_backbone,
    get_shorter_side,
    unwrap_model,
)
from mmst.subnets.cost import iter_tensors
from mmst.subnets.verify import run_without_trace

from .batch import PassBatches, get_images
from .report import describe_space
from .step import log_apart, mark_pass, name_place

# The length of these samplers is that of an epoch; others may be endless.
_FINITE = (
    DefaultSampler,
    RandomSampler,
    SequentialSampler,
    DistributedSampler,
)


def rehearse(
    loop: Any, sampler: SubnetSampler, data_batch: Any
) -> Tuple[Optional[str], bool]:
    """Rehearse the first iteration with subnets on a copy of the model.

    The space and its cost are logged first. Then, on every rank alike:
    handlers of targets have to reproduce the batch's own at the main size;
    passes that share blocks are compared with passes apart; and the
    smallest subnet runs on the smallest batch of an epoch. It takes about as
    long as two iterations, and the memory of a copy of the model. A model
    that cannot be copied is trained without, its passes apart.

    Args:
        loop: The ST train loop, before its first iteration.
        sampler: The sampler that draws the subnets, fitted to the model.
        data_batch: The first batch, as it comes from the data loader.

    Returns:
        tuple: Reason why passes have to run apart, ``None`` if they may share;
        and whether the model writes into its images, so that each pass needs
        a copy. The same on every rank.

    Raises:
        ValueError: If subnets cannot be trained as they are configured.
        Exception: Otherwise, what a pass raised, with the subnet named.
    """
    logger = loop.runner.logger
    model = unwrap_model(loop.runner.model)
    start = time.perf_counter()
    # A copy may share functions with the model, and so train parts of it.
    with run_without_trace(model), log_apart():
        try:
            double = copy.deepcopy(model)
        except Exception as error:
            logger.warning(
                f'{type(model).__name__} cannot be copied to rehearse an '
                f'iteration ({type(error).__name__}: {error}), so nothing is '
                'checked in advance, and each pass runs by itself'
            )
            return 'the model cannot be copied', False
        rehearsal = _Rehearsal(loop, sampler, data_batch, double)
        why_apart, writes_inputs = rehearsal.run()
    seconds = time.perf_counter() - start
    logger.info(f'Rehearsed one iteration on a copy in {seconds:.1f} s')
    if why_apart not in (None, loop.why_apart):
        logger.warning(f'Each pass runs by itself: {why_apart}')
    if writes_inputs:
        logger.info(
            f'{type(model).__name__} writes into its input images, so each '
            'pass gets a copy of them'
        )
    return why_apart, writes_inputs


class _Rehearsal:
    """One iteration on a copy of the model."""

    def __init__(
        self,
        loop: Any,
        sampler: SubnetSampler,
        data_batch: Any,
        model: nn.Module,
    ) -> None:
        self._loop = loop
        self._sampler = sampler
        self._data_batch = data_batch
        self._model: Any = model
        self._wrapper = loop.runner.optim_wrapper
        batches = loop.dataloader.batch_sampler
        self._num_images = least = getattr(batches, 'batch_size', None) or 0
        source = getattr(batches, 'sampler', None)
        drops_last = getattr(batches, 'drop_last', True)
        if least and not drops_last and isinstance(source, _FINITE):
            least = len(source) % least or least
        self._least_images = least
        self._batches = self._make_batches(least=False)

    def _make_batches(self, least: bool) -> PassBatches:
        """Make the batches of passes, as the last ones of an epoch or not."""
        batch = copy.deepcopy(self._data_batch)
        if least:
            batch = _take_first(batch, self._num_images, self._least_images)
        with self._wrapper.optim_context(self._model):
            data = self._model.data_preprocessor(batch, True)
        return PassBatches(
            data,
            self._loop.subnet_inputs,
            self._model,
            self._loop.dataloader.dataset,
            copy_inputs=True,
        )

    def run(self) -> Tuple[Optional[str], bool]:
        """Run the passes; reject what cannot be trained."""
        self._report()
        first = self._sampler.find_first(self._loop.runner.iter)
        subnets = self._sampler.draw(first)
        smallest = self._sampler.draw_smallest(Random(0))
        for index, subnet in enumerate([*subnets, smallest], 1):
            with mark_pass(index, subnet):
                self._batches.check_targets(subnet)
                self._batches.make(subnet)
        self._try_smallest(smallest)
        why_apart = self._compare(subnets)
        # Passes of all ranks have to share the same blocks.
        found = all_gather_object((why_apart, self._batches.are_written))
        reasons, written = zip(*found)
        return next(filter(None, reasons), None), any(written)

    def _report(self) -> None:
        """Log the space and its cost.

        On every rank alike, as some norm layers wait for each other. Nothing
        is said where the batch is not one of images, or the backbone cannot
        run on them: the passes will say why.
        """
        try:
            image = torch.zeros_like(get_images(self._batches.make(None))[:1])
            text = describe_space(
                self._model, image, self._sampler, self._loop.why_apart
            )
        except (TypeError, ValueError):
            return
        self._loop.runner.logger.info(text)

    def _compare(self, subnets: List[Subnet]) -> Optional[str]:
        """Run the passes; find why they may not share, if so."""
        passes = [None, *subnets]
        keys = self._batches.list_keys(passes)
        why_apart: Optional[str] = self._loop.why_apart
        runner = PassRunner(
            self._model, why_apart is None, self._loop.update_running_stats
        )
        running: Optional[Subnet] = None

        def loss(subnet: Optional[Subnet]) -> Tensor:
            nonlocal running
            running = subnet
            return self._compute_loss(self._batches.make(subnet))

        try:
            if why_apart is not None:
                runner.run(passes, loss, keys)
                return why_apart
            is_mixed = isinstance(self._wrapper, AmpOptimWrapper)
            difference = runner.verify(
                passes, loss, keys, tolerance=0.1 if is_mixed else None
            )
        except Exception:
            if running is None:
                raise  # as without subnets
            with name_place(f'subnet {running}'):
                raise
        if difference is not None:
            return f'sharing blocks would be wrong here: {difference}'
        if runner.parted is None:
            return None
        if get_world_size() > 1 and any(
            isinstance(m, nn.SyncBatchNorm) for m in self._model.modules()
        ):
            return (
                f'{runner.parted}, so ranks could share different blocks, '
                'and wait for each other in synchronised norm layers'
            )
        self._loop.runner.logger.info(
            'Passes share fewer blocks than they have in common: '
            f'{runner.parted}'
        )
        return None

    def _compute_loss(self, batch: Any) -> Any:
        with self._wrapper.optim_context(self._model):
            losses = self._model._run_forward(batch, mode='loss')
        return self._model.parse_losses(losses)[0]

    def _try_smallest(self, subnet: Subnet) -> None:
        """Run the fewest blocks, at the smallest size, on the last batch."""
        counts = f'{self._least_images} of {self._num_images} images'
        advice = (
            'the smallest size in `size_range` or `sizes` of '
            f'SubnetSamplerHook, now {self._sampler.sizes}'
        )
        least = self._least_images < self._num_images
        features: List[Any] = []
        handle = find_backbone(self._model).register_forward_hook(
            lambda module, args, output: features.append(output)
        )
        error = self._try(None, least)
        handle.remove()
        if error is not None and not least:
            raise error  # as without subnets
        if error is not None:
            self._loop.runner.logger.warning(
                'The main network itself cannot be trained on the last batch '
                f'of an epoch, {counts}: {_describe(error)}. Set '
                'drop_last=True in train_dataloader'
            )
            least = False
        error, reason = self._try(subnet, least), ''
        if error is not None:
            # A rank that fails alone must not wait for others.
            is_alone = get_world_size() == 1
            reason = _describe(error)
            if is_alone and least and not self._try(subnet, False):
                raise ValueError(
                    'subnets cannot be trained on the last batch of an epoch, '
                    f'{counts} (subnet {subnet}: {reason}): set '
                    f'drop_last=True in train_dataloader, or raise {advice}'
                ) from error
            large = Subnet(subnet.paths)
            if not is_alone or not subnet.size or self._try(large, False):
                with name_place(f'subnet {subnet}'):
                    raise error
        elif subnet.size and features:
            main, small = (
                get_images(self._batches.make(network))
                for network in (None, subnet)
            )
            cells = _count_cells(features[-1], main)
            left = cells * min(small.shape[-2:]) / min(main.shape[-2:])
            if 0 < left < 0.5:
                reason = f'{left:.2g} cells are left of the last feature map'
        if reason:
            images = get_images(self._batches.make(None))
            raise ValueError(
                f'subnets of {get_shorter_side(images, subnet.size)} px are '
                f'too small: subnet {subnet}: {reason}. Raise {advice}'
            ) from error

    def _try(
        self, subnet: Optional[Subnet], least: bool
    ) -> Optional[Exception]:
        """Run the main network, then a subnet; return the last's exception."""
        batches = self._make_batches(least)
        main, last = batches.make(None), batches.make(subnet)
        with torch.no_grad(), ExitStack() as stack:
            if subnet is not None:
                self._compute_loss(main)  # which teaches the subnet
                updates = self._loop.update_running_stats
                stack.enter_context(activate(self._model, subnet, updates))
            try:
                self._compute_loss(last)
            except Exception as error:
                return error
        return None


def _describe(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'


def _count_cells(output: Any, images: Tensor) -> int:
    """Count the cells of a backbone's last map, on its shorter side, or 0."""
    height, width = images.shape[-2:]
    cells = 0
    for features in iter_tensors(output):
        if features.ndim == 4:
            rows, columns = features.shape[-2:]
            # Features with channels last have other proportions.
            if 0.5 < height * columns / (width * rows) < 2:
                cells = min(rows, columns)
    return cells


def _take_first(batch: Any, length: int, num_images: int) -> Any:
    """Take the first images of a batch, with their annotations."""
    if isinstance(batch, dict):
        return {
            k: _take_first(v, length, num_images) for k, v in batch.items()
        }
    if isinstance(batch, (list, tuple, Tensor)) and len(batch) == length:
        return batch[:num_images]
    if isinstance(batch, (list, tuple)):  # several views
        return [_take_first(part, length, num_images) for part in batch]
    return batch
