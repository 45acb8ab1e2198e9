"""Reports how good the subnets are while the network trains."""

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
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
        for name, value in (
            ('interval', interval),
            ('num_samples', num_samples),
        ):
            check_count(f'SubnetMetricsHook: {name}', value, least=1)
        check_flag('SubnetMetricsHook: by_epoch', by_epoch)
        if depths is not None:
            check_list('SubnetMetricsHook: depths', depths, 'lists of depths')
            for blocks in depths:
                check_counts('SubnetMetricsHook: depths', blocks, 'depths')
        self.interval = interval
        self.by_epoch = by_epoch
        self.depths = depths
        self.num_samples = num_samples
        self._dataset: Optional[Dataset[Any]] = None

    def before_train(self, runner: Runner) -> None:
        """Refuse settings that cannot be evaluated."""
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
        self._list_subnets(runner.model)

    def _list_subnets(self, model: nn.Module) -> Sequence[Sequence[int]]:
        """List the depths to evaluate; refuse those that do not fit."""
        blocks = [len(stage) for stage in find_stages(model)]
        subnets = (
            list_uniform_depths(blocks) if self.depths is None else self.depths
        )
        for depths in subnets:
            try:
                Subnet.ordered(depths, blocks)
            except ValueError as error:
                raise ValueError(
                    f'SubnetMetricsHook in custom_hooks: {error}'
                ) from error
        return subnets

    def after_train_epoch(self, runner: Runner) -> None:
        """Report after every ``interval`` epochs."""
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._report(runner, runner.epoch + 1)

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
            self._report(runner, runner.iter + 1)

    def _report(self, runner: Runner, step: int) -> None:
        unit = 'epoch' if self.by_epoch else 'iteration'
        scalars = {}
        for depths, metrics in self.evaluate(runner):
            name = '-'.join(map(str, depths))
            line = '  '.join(
                f'{key}: {value:.4f}' for key, value in metrics.items()
            )
            runner.logger.info(f'Subnet(val) [{unit} {step}]  {name}  {line}')
            scalars.update(
                {
                    f'subnet_{name}/{key}': value
                    for key, value in metrics.items()
                }
            )
        add_subnet_scalars(runner.visualizer, scalars, step, runner.iter + 1)

    def evaluate(
        self, runner: Runner
    ) -> List[Tuple[Sequence[int], Dict[str, float]]]:
        """Compute the numeric metrics of each subnet.

        Args:
            runner: The runner, during its training.
        """
        results = []
        with preserve_random_state(), preserve_modes(
            runner.model
        ), _swap_validated_weights(runner), _remove_hooks(runner):
            if self._dataset is None:
                # The training's own may be in use.
                self._dataset = build_train_loader(runner).dataset
            for depths in self._list_subnets(runner.model):
                metrics = evaluate_subnet(
                    runner, depths, self.num_samples, self._dataset
                )
                results.append(
                    (
                        depths,
                        {
                            key: float(value)
                            for key, value in metrics.items()
                            if isinstance(value, (int, float, np.number))
                        },
                    )
                )
        return results


@contextmanager
def _swap_validated_weights(runner: Runner) -> Iterator[None]:
    """Swap in averaged weights where validation would."""
    hooks = [
        hook
        for hook in runner.hooks
        if isinstance(hook, EMAHook)
        # mmpretrain's may be set to evaluate the plain weights.
        and getattr(hook, 'evaluate_on_ema', True)
    ]
    # Not by its hook points, where mmpretrain's validates once more.
    for hook in hooks:
        hook._swap_ema_parameters()
    try:
        yield
    finally:
        for hook in hooks:
            hook._swap_ema_parameters()


@contextmanager
def _remove_hooks(runner: Runner) -> Iterator[None]:
    """Keep other hooks from logging a subnet's metrics as the network's."""
    hooks = runner._hooks
    runner._hooks = []
    try:
        yield
    finally:
        runner._hooks = hooks
