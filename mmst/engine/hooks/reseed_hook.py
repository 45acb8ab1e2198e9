"""Make a resumed run draw the same random numbers as without the stop."""

from typing import Any, Dict, Optional

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner, set_random_seed

from mmst.registry import FUNCTIONS, HOOKS


@HOOKS.register_module()
class ReseedHook(Hook):
    """Reseed after every iteration, from (seed, iteration, rank) only.

    MMEngine seeds a run once. Dropout, Mixup and augmentations then depend on
    everything drawn since the start, and a resumed run draws other numbers.
    With this hook each iteration's draws are independent of earlier ones.
    Data loaders need ``persistent_workers=False`` and
    ``worker_init_fn=dict(type='mmst.keep_worker_seed')``, so that workers are
    reseeded in every epoch, too. Iteration-based runs need an
    ``InfiniteSampler`` and at least one worker process: on resuming they read
    the seen batches again, so that workers repeat their draws.

    Example:
        >>> runner.register_hook(ReseedHook())
        >>> loader = dict(worker_init_fn=dict(type='mmst.keep_worker_seed'))
    """

    # After hooks that may draw random numbers at the same points.
    priority = 'LOWEST'

    def __init__(self) -> None:
        """Take no options; Python says so by the name of one."""

    @staticmethod
    def _reseed(runner: Runner, iteration: int) -> None:
        # Different for ranks and for consecutive seeds, and within the 32 bits
        # that NumPy takes.
        mixed = runner.seed * 1_000_003 + iteration * 8191 + get_rank()
        set_random_seed(mixed % 2**32)

    def before_train(self, runner: Runner) -> None:
        """Make OneDL's MMEngine read seen batches again, as MMEngine does.

        OneDL's skips them, and seeds its workers only then.
        """
        batches: Any = getattr(runner.train_loop, 'dataloader_iterator', None)
        if not hasattr(batches, 'skip_iter'):
            return

        def read_again(num_iters: int) -> None:
            self._reseed(runner, 0)
            for _ in range(num_iters):
                next(batches)
            self._reseed(runner, num_iters)

        batches.skip_iter = read_again

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
        # Outside training, reading the iteration would build a train loop,
        # data set included.
        if isinstance(runner._train_loop, BaseLoop):
            self._reseed(runner, runner.iter)


@FUNCTIONS.register_module()
def keep_worker_seed(worker_id: int) -> None:
    """Keep the seed that PyTorch gives a worker, new in every epoch.

    MMEngine's own function would give it the same seed in every epoch.
    """
