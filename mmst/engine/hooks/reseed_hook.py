"""Random numbers that a resumed run shares with the uninterrupted one."""

from functools import partial
from typing import Any, Dict, Iterator, Optional

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from mmst.registry import FUNCTIONS, HOOKS


@HOOKS.register_module()
class ReseedHook(Hook):
    """Reseed after every iteration, from (seed, iteration, rank) alone.

    MMEngine seeds a run once. What dropout, Mixup and augmentations draw then
    depends on everything drawn since the start, and a resumed run draws
    something else. With this hook the next iteration's draws do not depend on
    the ones before. Data loaders need ``persistent_workers=False`` and
    ``worker_init_fn=dict(type='mmst.keep_worker_seed')``, so that workers too
    begin every epoch from it. Iteration-based runs need an ``InfiniteSampler``
    and at least one worker process: they resume by reading the seen batches
    again, so that workers draw for them what they drew.
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
        """Have seen batches read again, as MMEngine itself does.

        OneDL's MMEngine only moves the sampler on, and makes the workers not
        before the first batch.
        """
        batches = getattr(runner.train_loop, 'dataloader_iterator', None)
        if hasattr(batches, 'skip_iter'):
            batches.skip_iter = partial(self._read, runner, batches)

    def _read(self, runner: Runner, batches: Iterator, count: int) -> None:
        self._reseed(runner, 0)  # as when the run began
        for _ in range(count):
            next(batches)
        self._reseed(runner, count)

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
        self._reseed(runner, runner.iter)


@FUNCTIONS.register_module()
def keep_worker_seed(worker_id: int) -> None:
    """Leave a worker the seed that PyTorch gave it, new every epoch.

    MMEngine's own function would seed it with the same number every epoch.
    """
