"""The hook that prepares what other hooks have put in a data set's place."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmst.targets import prepare_dataset


class PrepareDatasetHook(Hook):
    """Prepares the data set again after hooks that may replace a pipeline.

    mmdet's PipelineSwitchHook and its like do so before an epoch, and the
    epoch's workers start after it. The train loops register this one, as the
    last of all.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        """Prepare what the epoch's workers will get a copy of."""
        prepare_dataset(runner.train_loop.dataloader.dataset)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Prepare what the next batch is read from, if by this process."""
        if runner.train_loop.dataloader.num_workers == 0:
            prepare_dataset(runner.train_loop.dataloader.dataset)
