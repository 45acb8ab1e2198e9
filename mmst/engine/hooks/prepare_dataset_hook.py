"""A hook that prepares data sets again after other hooks change them."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmst.targets import prepare_dataset


class PrepareDatasetHook(Hook):
    """Prepares the data set again after hooks that may replace a pipeline.

    mmdet's PipelineSwitchHook and similar hooks do so before an epoch, and the
    epoch's workers start after it. The train loops register this hook last.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Prepare the data set before it is copied to the epoch's workers."""
        prepare_dataset(runner.train_loop.dataloader.dataset)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Prepare the data set if this process itself reads the next batch."""
        if runner.train_loop.dataloader.num_workers == 0:
            prepare_dataset(runner.train_loop.dataloader.dataset)
