"""The first iteration on a copy of the model, before it is trained.

Settings that cannot be right are rejected at once, instead of training wrong
in silence, or failing hours later.
"""

import copy
import time
from random import Random
from typing import Any, List, NamedTuple, NoReturn, Optional

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object, get_world_size
from mmengine.optim import AmpOptimWrapper
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
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
from mmst.targets import find_handler

from .batch import PassBatches, get_images, read_entries
from .report import describe_space
from .step import log_apart, mark_pass, name_place

# The length of these samplers is that of an epoch; others may be endless.
_FINITE = (
    DefaultSampler,
    RandomSampler,
    SequentialSampler,
    DistributedSampler,
)


class Findings(NamedTuple):
    """Results of a rehearsal, the same on every rank.

    Attributes:
        why_apart: Reason why passes have to run apart; ``None`` if they may
            share.
        writes_inputs: Whether the model writes into its images, so that each
            pass needs a copy.
    """

    why_apart: Optional[str] = None
    writes_inputs: bool = False


def rehearse(loop: Any, sampler: SubnetSampler, data_batch: Any) -> Findings:
    """Rehearse the first iteration with subnets on a copy of the model.

    The space and its cost are logged first. Then, on every rank alike:
    passes that share blocks are compared with passes apart; handlers of
    targets have to reproduce the batch's own at the main size; and the
    smallest subnet runs on the smallest batch of an epoch. It takes about as
    long as two iterations, and the memory of a copy of the model. A model
    that cannot be copied is trained without, its passes apart.

    Args:
        loop: The ST train loop, before its first iteration.
        sampler: The sampler that draws the subnets, fitted to the model.
        data_batch: The first batch, as it comes from the data loader.

    Raises:
        ValueError: If subnets cannot be trained as they are configured.
        Exception: Otherwise, what a pass raised, with the subnet named.
    """
    runner = loop.runner
    logger = runner.logger
    model = unwrap_model(runner.model)
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
            return Findings(why_apart='the model cannot be copied')
        rehearsal = _Rehearsal(loop, sampler, data_batch, double)
        rehearsal.report()
        findings = rehearsal.run()
    seconds = time.perf_counter() - start
    logger.info(f'Rehearsed one iteration on a copy in {seconds:.1f} s')
    if findings.why_apart not in (None, loop.why_apart):
        logger.warning(f'Each pass runs by itself: {findings.why_apart}')
    if findings.writes_inputs:
        logger.info(
            f'{type(model).__name__} writes into its input images, so each '
            'pass gets a copy of them'
        )
    return findings


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
        self._model = model
        self._wrapper = loop.runner.optim_wrapper
        self._num_images = _count_images(data_batch)
        self._batches = self._make_batches(self._num_images)

    def _make_batches(self, num_images: int) -> PassBatches:
        """Make the batches of passes on the first images of the batch."""
        batch = copy.deepcopy(self._data_batch)
        if num_images < self._num_images:
            batch = _take_first(batch, self._num_images, num_images)
        with self._wrapper.optim_context(self._model):
            data = self._model.data_preprocessor(batch, True)
        return PassBatches(
            data,
            self._loop.subnet_inputs,
            self._model,
            self._loop.dataloader.dataset,
            copy_inputs=True,
        )

    def report(self) -> None:
        """Log the space and its cost.

        On every rank alike, as some norm layers wait for each other. Nothing
        is said where the batch is not one of images, or the backbone cannot
        run on them: the passes will say why.
        """
        try:
            images = get_images(self._batches.make(None))
            text = describe_space(
                self._model,
                torch.zeros_like(images[:1]),
                self._sampler,
                self._loop.why_apart,
            )
        except (TypeError, ValueError):
            return
        self._loop.runner.logger.info(text)

    def run(self) -> Findings:
        """Run the passes; reject what cannot be trained."""
        self._check_transforms()
        first = self._sampler.find_first(self._loop.runner.iter)
        subnets = self._sampler.draw(first)
        smallest = self._sampler.draw_smallest(Random(0))
        for index, subnet in enumerate([*subnets, smallest], 1):
            with mark_pass(index, subnet):
                self._batches.check_targets(subnet)
                self._batches.make(subnet)
        why_apart = self._compare(subnets)
        self._try_smallest(smallest)
        found = why_apart, self._batches.were_inputs_written()
        # Passes of all ranks have to share the same blocks.
        reasons, written = zip(*all_gather_object(found))
        return Findings(next(filter(None, reasons), None), any(written))

    def _check_transforms(self) -> None:
        """Reject transforms that move pixels but not their annotations."""
        moved = {'crop', 'flip'} & set(self._loop.subnet_inputs.transforms)
        samples = read_entries(self._data_batch).get('data_samples')
        for sample in samples if moved and isinstance(samples, list) else ():
            if find_handler(sample).is_positional:
                raise ValueError(
                    f'input_transforms in train_cfg has {sorted(moved)}, '
                    'which move pixels under the annotations of '
                    f'{type(sample).__name__}: they are for classification '
                    'only'
                )

    def _compare(self, subnets: List[Subnet]) -> Optional[str]:
        """Run the passes; find why they may not share, if so."""
        passes = [None, *subnets]
        keys = self._batches.list_keys(passes)
        runner = PassRunner(
            self._model,
            self._loop.why_apart is None,
            self._loop.update_running_stats,
        )
        running: Optional[Subnet] = None

        def loss(subnet: Optional[Subnet]) -> Tensor:
            nonlocal running
            running = subnet
            return self._compute_loss(self._batches.make(subnet))

        try:
            if self._loop.why_apart is not None:
                runner.run(passes, loss, keys)
                return None
            is_mixed = isinstance(self._wrapper, AmpOptimWrapper)
            difference = runner.verify(
                passes, loss, keys, tolerance=0.1 if is_mixed else None
            )
        except Exception as error:
            if running is None:
                raise  # as without subnets
            self._reject(running, self._num_images, error)
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

    def _compute_loss(self, batch: Any) -> Tensor:
        with self._wrapper.optim_context(self._model):
            losses = self._model._run_forward(batch, mode='loss')
        return self._model.parse_losses(losses)[0]

    def _try_smallest(self, subnet: Subnet) -> None:
        """Run the fewest blocks, at the smallest size, on the last batch."""
        least = _count_least_images(self._loop.dataloader, self._num_images)
        cells: List[int] = []
        handle = find_backbone(self._model).register_forward_hook(
            lambda module, args, output: cells.extend(
                _list_cells(args, output)
            )
        )
        error = self._try(None, least)
        handle.remove()
        if error is not None:
            self._loop.runner.logger.warning(
                'The main network itself cannot be trained on the last batch '
                f'of an epoch, {least} of {self._num_images} images: '
                f'{_describe(error)}. Set drop_last=True in train_dataloader'
            )
            least = self._num_images
        error = self._try(subnet, least)
        if error is not None:
            self._reject(subnet, least, error)
        if subnet.size is not None and cells:
            before, after = (
                min(get_images(self._batches.make(network)).shape[-2:])
                for network in (None, subnet)
            )
            left = cells[-1] * after / before
            if left < 0.5:
                self._blame_size(
                    subnet,
                    f'{left:.2g} cells are left of the last feature map',
                )

    def _try(
        self, subnet: Optional[Subnet], num_images: int
    ) -> Optional[Exception]:
        """Run the main network, then a subnet; return their exception."""
        batches = self._make_batches(num_images)
        main, small = batches.make(None), batches.make(subnet)
        with torch.no_grad():
            try:
                self._compute_loss(main)  # which teaches the subnet
                if subnet is not None:
                    with activate(
                        self._model, subnet, self._loop.update_running_stats
                    ):
                        self._compute_loss(small)
            except Exception as error:
                return error
        return None

    def _reject(
        self, subnet: Subnet, num_images: int, error: Exception
    ) -> NoReturn:
        """Raise a subnet's exception; blame batch or size if it is theirs."""
        sizes = self._sampler.sizes
        # A rank that fails alone must not wait for others.
        if get_world_size() == 1:
            if num_images < self._num_images and not self._try(
                subnet, self._num_images
            ):
                raise ValueError(
                    'subnets cannot be trained on the last batch of an epoch, '
                    f'{num_images} of {self._num_images} images (subnet '
                    f'{subnet}: {_describe(error)}): set drop_last=True in '
                    'train_dataloader, or raise the smallest size in '
                    '`size_range` or `sizes` of SubnetSamplerHook, now '
                    f'{sizes}'
                ) from error
            if sizes.values and not self._try(
                Subnet(subnet.paths), self._num_images
            ):
                self._blame_size(subnet, _describe(error), error)
        with name_place(f'subnet {subnet}'):
            raise error

    def _blame_size(
        self, subnet: Subnet, reason: str, cause: Optional[Exception] = None
    ) -> NoReturn:
        images = get_images(self._batches.make(None))
        raise ValueError(
            f'subnets of {get_shorter_side(images, subnet.size)} px are too '
            f'small: subnet {subnet}: {reason}. Raise the smallest size in '
            '`size_range` or `sizes` of SubnetSamplerHook, now '
            f'{self._sampler.sizes}'
        ) from cause


def _describe(error: Exception) -> str:
    words = ' '.join(str(error).split())
    return f'{type(error).__name__}: {words}'


def _list_cells(args: Any, output: Any) -> List[int]:
    """List the shorter side, in cells, of each feature map of a backbone."""
    if not args or not isinstance(args[0], Tensor) or args[0].ndim != 4:
        return []
    height, width = args[0].shape[-2:]
    maps = [x.shape[-2:] for x in iter_tensors(output) if x.ndim == 4]
    return [
        min(rows, columns)
        for rows, columns in maps
        # Features with channels last have other proportions.
        if 0.5 < height * columns / (width * rows) < 2
    ]


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
    if isinstance(batch, dict):
        return {
            k: _take_first(v, length, num_images) for k, v in batch.items()
        }
    if isinstance(batch, (list, tuple, Tensor)) and len(batch) == length:
        return batch[:num_images]
    if isinstance(batch, (list, tuple)):  # several views
        return [_take_first(part, length, num_images) for part in batch]
    return batch
