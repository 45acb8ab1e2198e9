"""Reports how good the subnets are while the network trains."""

from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, Optional, Sequence

import numpy as np
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import Dataset

from mmst.evaluation import (
    build_train_loader,
    evaluate_subnet,
    get_validation_loader,
    list_uniform_depths,
    preserve_random_state,
)
from mmst.registry import HOOKS
from mmst.subnets import Subnet, find_stages, preserve_modes
from mmst.subnets.options import (
    check_count,
    check_counts,
    check_flag,
    check_list,
)

from ..report import add_subnet_scalars
from ..step import name_place


@HOOKS.register_module()
class SubnetMetricsHook(Hook):
    """Evaluate subnets every n epochs, on the run's own validation.

    Each subnet gets its own BatchNorm statistics, re-estimated from training
    images that are loaded separately. Training is not affected: weights,
    statistics, random numbers and other hooks are restored. If the run
    validates averaged weights (EMAHook), so do the subnets. The metrics go to
    the log and to every backend of the visualizer (LocalVisBackend:
    ``subnets.json``).

    Args:
        interval: Number of epochs, or iterations, between two reports.
        by_epoch: Whether ``interval`` counts epochs.
        depths: The subnets, each by the number of blocks to keep in every
            stage, such as ``[[3, 3, 4, 3]]``. Default: 1, 2 ... blocks in all
            stages.
        num_samples: Number of training images, in each process, to re-estimate
            each subnet's BatchNorm statistics from.

    Raises:
        ValueError: If the value of an option is not allowed.

    Example:
        >>> hook = SubnetMetricsHook(interval=10, depths=[[1, 2, 1]])
        >>> runner.register_hook(hook)
    """

    # After hooks that change weights.
    priority = 'LOW'

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        depths: Optional[Sequence[Sequence[int]]] = None,
        num_samples: int = 2000,
    ) -> None:
        check_count('SubnetMetricsHook: interval', interval, least=1)
        check_count('SubnetMetricsHook: num_samples', num_samples, least=1)
        check_flag('SubnetMetricsHook: by_epoch', by_epoch)
        if depths is not None:
            check_list('SubnetMetricsHook: depths', depths, 'lists of depths')
            for blocks in depths:
                check_counts('SubnetMetricsHook: depths', blocks, 'depths')
        self.interval = interval
        self.by_epoch = by_epoch
        self.depths = depths
        self.num_samples = num_samples
        self._subnets: Sequence[Sequence[int]] = ()
        self._dataset: Optional[Dataset[Any]] = None

    def before_train(self, runner: Runner) -> None:
        """Reject settings that cannot be evaluated."""
        get_validation_loader(runner)
        if not isinstance(runner.cfg.get('train_dataloader'), dict):
            raise ValueError(
                'SubnetMetricsHook loads training images separately for '
                'BatchNorm statistics: pass train_dataloader to the runner as '
                'a config'
            )
        if self.by_epoch and not isinstance(
            runner.train_loop, EpochBasedTrainLoop
        ):
            raise ValueError(
                f'SubnetMetricsHook: interval={self.interval} counts epochs, '
                f'but {type(runner.train_loop).__name__} has none: set '
                'by_epoch=False'
            )
        blocks = [len(stage) for stage in find_stages(runner.model)]
        self._subnets = (
            list_uniform_depths(blocks) if self.depths is None else self.depths
        )
        with name_place('SubnetMetricsHook in custom_hooks'):
            for depths in self._subnets:
                Subnet.ordered(depths, blocks)

    def after_train_epoch(self, runner: Runner) -> None:
        """Report after every ``interval`` epochs."""
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._report(runner, f'epoch {runner.epoch + 1}', runner.epoch + 1)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Report after every ``interval`` iterations."""
        if not self.by_epoch and self.every_n_train_iters(
            runner, self.interval
        ):
            self._report(
                runner, f'iteration {runner.iter + 1}', runner.iter + 1
            )

    def _report(self, runner: Runner, now: str, step: int) -> None:
        scalars = {}
        with _validate_aside(runner):
            if self._dataset is None:
                # The training's own may be in use.
                self._dataset = build_train_loader(runner).dataset
            for depths in self._subnets:
                metrics = evaluate_subnet(
                    runner, depths, self.num_samples, self._dataset
                )
                name = '-'.join(map(str, depths))
                numbers = {
                    key: float(value)
                    for key, value in metrics.items()
                    if isinstance(value, (int, float, np.number))
                }
                line = '  '.join(f'{k}: {x:.4f}' for k, x in numbers.items())
                runner.logger.info(f'Subnet(val) [{now}]  {name}  {line}')
                for key, value in numbers.items():
                    scalars[f'subnet_{name}/{key}'] = value
        add_subnet_scalars(runner, scalars, step)


@contextmanager
def _validate_aside(runner: Runner) -> Iterator[None]:
    """Validate the weights that the run does, without a trace in it."""
    with ExitStack() as stack:
        stack.enter_context(preserve_random_state())
        stack.enter_context(preserve_modes(runner.model))
        for hook in runner.hooks:
            # mmpretrain's may be set to evaluate the plain weights.
            if isinstance(hook, EMAHook) and getattr(
                hook, 'evaluate_on_ema', True
            ):
                # Not by its hook points, where it validates once more.
                hook._swap_ema_parameters()
                stack.callback(hook._swap_ema_parameters)
        # No hook logs these metrics.
        stack.callback(setattr, runner, '_hooks', runner._hooks)
        runner._hooks = []
        yield
