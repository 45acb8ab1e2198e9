"""A trial before the first step: can the smallest subnet be trained?

If not, training is refused at once, instead of failing hours later when the
smallest size meets the last batch of an epoch.
"""

from copy import deepcopy
from random import Random
from typing import Any, Optional, Tuple

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
)

from mmst.subnets import (
    Subnet,
    SubnetInputs,
    SubnetSampler,
    activate,
    get_shorter_side,
    unwrap_model,
)
from mmst.subnets.compile_blocks import run_uncompiled

from .preserve_training import preserve_training
from .raise_together import raise_together, share_error
from .space_report import say_too_small
from .subnet_batch import copy_samples, get_images, make_subnet_batch
from .subnet_errors import name_failing_subnet

# Their length is that of an epoch; other samplers may be endless.
_FINITE = (
    DefaultSampler,
    RandomSampler,
    SequentialSampler,
    DistributedSampler,
)


class SubnetTrial:
    """The passes of one iteration, without a step or side effects.

    Runs the main network, in training mode, on the smallest batch of the
    loader, and a subnet of the fewest blocks at the smallest size. All
    ranks run the same passes, so that synchronised norm layers do not hang.

    Args:
        runner: The runner, before its first iteration.
        sampler: What draws its subnets.
        data_batch: The first batch, as it comes from the data loader.
    """

    def __init__(
        self, runner: Runner, sampler: SubnetSampler, data_batch: Any
    ) -> None:
        self.model = unwrap_model(runner.model)
        self.optim_wrapper: OptimWrapper = runner.optim_wrapper
        self.inputs: SubnetInputs = runner.train_loop.subnet_inputs
        self.update_stats: bool = runner.train_loop.update_running_stats
        self.sampler = sampler
        self.batch = data_batch
        self.num_all = _count_images(data_batch)
        self.num_least = _count_least_images(
            runner.train_loop.dataloader, self.num_all
        )

    def run(self) -> None:
        """Try the smallest subnet.

        Raises:
            ValueError: If it cannot be trained, but could be on a whole
                batch or at the main input's size.
            Exception: Otherwise, what its pass raised, with the subnet named.
                What one rank raises is raised on all.
        """
        try:
            error = self._try(self.num_least)
        except _MainFails:
            try:
                error = self._try(self.num_all)
            except _MainFails:
                return  # the iteration itself will say so
        if error is None:
            return
        told = self._describe_error(error)
        least = min(all_gather_object(self.num_least))
        if least < self.num_all and not self._try(self.num_all):
            raise ValueError(
                'subnets cannot be trained on the last batch of an epoch, '
                f'{least} of {self.num_all} images ({told}): set '
                'drop_last=True in train_dataloader, or raise the smallest '
                'size in `size_range` or `sizes` of SubnetSamplerHook, now '
                f'{self.sampler.sizes}'
            ) from error
        if self.sampler.sizes.values and not self._try(self.num_all, False):
            raise ValueError(
                say_too_small(self.side, told, self.sampler.sizes)
            ) from error
        with name_failing_subnet(self.subnet):
            raise error

    def _describe_error(self, error: Exception) -> str:
        words = ' '.join(str(error).split())
        return f'subnet {self.subnet}: {type(error).__name__}: {words}'

    def _try(
        self, num_images: int, resized: bool = True
    ) -> Optional[Exception]:
        """Run the main network and a subnet; return the subnet's exception.

        If one rank gets an exception, all do, and so continue alike.
        """
        data = deepcopy(_take_first(self.batch, self.num_all, num_images))
        model = self.model
        with preserve_training(model), run_uncompiled(model), torch.no_grad():
            data, error = self._try_main(data)
            if share_error(error):
                raise _MainFails
            with raise_together():
                self._choose(data, resized)
                data = make_subnet_batch(data, self.subnet, self.inputs, model)
            return share_error(self._try_subnet(data))

    def _try_main(self, data: Any) -> Tuple[Any, Optional[Exception]]:
        """Preprocess a batch and run the main network on it."""
        try:
            with self.optim_wrapper.optim_context(self.model):
                data = self.model.data_preprocessor(data, True)
                self.model._run_forward(copy_samples(data), mode='loss')
        except Exception as error:
            return data, error
        return data, None

    def _try_subnet(self, data: Any) -> Optional[Exception]:
        try:
            with self.optim_wrapper.optim_context(self.model), activate(
                self.model, self.subnet, self.update_stats
            ):
                self.model._run_forward(data, mode='loss')
        except Exception as error:
            return error
        return None

    def _choose(self, data: Any, resized: bool) -> None:
        """Choose the fewest blocks, at the smallest size."""
        space, sizes = self.sampler.space, self.sampler.sizes.values
        subnet = space.sample(Random(0))
        if space.strategy != 'raw':
            fewest = [depths[-1] for depths in space.depths]
            subnet = Subnet.ordered(fewest, space.num_blocks)
        if sizes and resized:
            images = get_images(data)
            size = min(sizes, key=lambda n: get_shorter_side(images, n))
            self.side = get_shorter_side(images, size)
            subnet = Subnet(subnet.paths, size)
        self.subnet = subnet


class _MainFails(Exception):
    """The main network cannot be trained on these images either."""


def _count_least_images(loader: 'DataLoader[Any]', num_all: int) -> int:
    """Count the images of a loader's smallest batch."""
    batches = getattr(loader, 'batch_sampler', None)
    source = getattr(batches, 'sampler', None)
    if getattr(batches, 'drop_last', True) or not isinstance(source, _FINITE):
        return num_all
    left = len(source) % getattr(batches, 'batch_size', num_all)
    return min(left or num_all, num_all)


def _count_images(batch: Any) -> int:
    """Count the images of a batch; 0 if unknown."""
    if not isinstance(batch, dict):
        return 0
    lists = (batch.get('data_samples'), batch.get('inputs'))
    return next((len(x) for x in lists if isinstance(x, (list, Tensor))), 0)


def _take_first(batch: Any, length: int, num_images: int) -> Any:
    """Take the first images of a batch, with their annotations."""
    if length == num_images:
        return batch
    if isinstance(batch, dict):
        return {
            k: _take_first(v, length, num_images) for k, v in batch.items()
        }
    if isinstance(batch, (list, tuple, Tensor)) and len(batch) == length:
        return batch[:num_images]
    if isinstance(batch, (list, tuple)):  # several views
        return [_take_first(part, length, num_images) for part in batch]
    return batch
