"""Random numbers that a resumed run shares with the uninterrupted one."""

from functools import partial
from typing import Any, Callable, Dict, Iterator, Optional

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner, set_random_seed

from mmst.registry import FUNCTIONS, HOOKS


@HOOKS.register_module()
class ReseedHook(Hook):
    """Reseed after every iteration, from (seed, iteration, rank) only.

    MMEngine seeds a run once. What dropout, Mixup and augmentations draw then
    depends on everything drawn since the start, and a resumed run draws
    something else. With this hook the next iteration's draws do not depend on
    the ones before. Data loaders need ``persistent_workers=False`` and
    ``worker_init_fn=dict(type='mmst.keep_worker_seed')``, so that workers too
    begin every epoch from it. Iteration-based runs need an ``InfiniteSampler``
    and at least one worker process: they resume by reading the seen batches
    again, so that workers draw for them what they drew.

    Example:
        >>> runner.register_hook(ReseedHook())
        >>> loader = dict(worker_init_fn=dict(type='mmst.keep_worker_seed'))
    """

    # After the hooks that may draw random numbers at the same points.
    priority = 'LOWEST'

    @staticmethod
    def _reseed(runner: Runner, iteration: int) -> None:
        # Far apart for the ranks and for seeds that follow one another, and
        # within the 32 bits that NumPy takes.
        mixed = runner.seed * 1_000_003 + iteration * 8191 + get_rank()
        set_random_seed(mixed % 2**32)

    def before_train(self, runner: Runner) -> None:
        """Have OneDL's MMEngine read seen batches again, as MMEngine does."""
        batches = getattr(runner.train_loop, 'dataloader_iterator', None)
        if batches is not None and hasattr(batches, 'skip_iter'):
            runner.train_loop.dataloader_iterator = _BatchesReadAgain(
                batches, partial(self._reseed, runner)
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the first iteration of an epoch, and its workers."""
        self._reseed(runner, runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Seed the next iteration."""
        self._reseed(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Seed again: a resumed run does not repeat the validation."""
        # Outside of a training the iteration would be asked of a loop that is
        # built for that, training images and all.
        if isinstance(runner._train_loop, BaseLoop):
            self._reseed(runner, runner.iter)


class _BatchesReadAgain:
    """The batches of a loop that would skip the seen ones without reading.

    Such a loop also makes its workers as late as for the first batch, so that
    they take their seed from the iteration of that.
    """

    def __init__(
        self, batches: Iterator[Any], reseed: Callable[[int], None]
    ) -> None:
        self._batches = batches
        self._reseed = reseed

    def __next__(self) -> Any:
        return next(self._batches)

    def skip_iter(self, num_iters: int) -> None:
        """Read the batches of the iterations before ``num_iters``."""
        self._reseed(0)
        for _ in range(num_iters):
            next(self._batches)
        self._reseed(num_iters)


@FUNCTIONS.register_module()
def keep_worker_seed(worker_id: int) -> None:
    """Leave a worker the seed that PyTorch gave it, new every epoch.

    MMEngine's own function would seed it with the same number every epoch.
    """
