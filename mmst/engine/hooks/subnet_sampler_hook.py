"""The hook that decides which subnets an iteration trains."""

from typing import Any, Optional, Union

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmst.registry import HOOKS
from mmst.subnets import SubnetInputs, SubnetSampler, unwrap_model
from mmst.subnets.options import check_count, check_flag

from ..step import name_place

PLACE = 'SubnetSamplerHook in custom_hooks'


@HOOKS.register_module()
class SubnetSamplerHook(Hook):
    """Decides which subnets the ST train loops train.

    The loop asks its sampler before every iteration. It reports the drawn
    subnets from time to time, in the log and to every backend of the
    visualizer (LocalVisBackend: ``subnets.json``).

    Args:
        begin: First epoch or iteration, from 0, that trains subnets; or the
            fraction of the training after which they begin, such as 0.2.
        by_epoch: Whether a whole number ``begin`` counts epochs.
        interval: Iterations between two reports of the drawn subnets.
            Default: the interval of the LoggerHook.
        **options: Options of :class:`mmst.subnets.SubnetSampler`:
            ``num_subnets``, ``space`` or ``min_depth``, ``strategy``,
            ``size_range`` or ``sizes``, ``num_sizes``, ``sandwich``,
            ``every``. The seed is the run's, set by ``randomness`` in the
            config.

    Raises:
        ValueError: If the value of an option is not allowed.

    Example:
        >>> hook = SubnetSamplerHook(num_subnets=6, space=[1, 2, 4, 1])
        >>> hook.sampler.num_subnets
        6
    """

    def __init__(
        self,
        begin: Union[int, float] = 0,
        by_epoch: bool = True,
        interval: Optional[int] = None,
        **options: Any,
    ) -> None:
        with name_place(PLACE):
            if interval is not None:
                check_count('interval', interval, least=1)
            check_flag('by_epoch', by_epoch)
            if 'seed' in options:
                raise ValueError(
                    f'seed {options["seed"]!r} cannot be set here, since '
                    "subnets are drawn from the run's seed: set "
                    f'randomness=dict(seed={options["seed"]!r}) in the config'
                )
            if isinstance(begin, float) and not 0 <= begin < 1:
                raise ValueError(
                    f'begin {begin!r} is neither a whole number of epochs or '
                    'iterations nor a fraction of the training, at least 0 '
                    'and below 1'
                )
            if not isinstance(begin, float):
                check_count('begin', begin, least=0)
            self.sampler = SubnetSampler(**options)
        self.begin = begin
        self.by_epoch = by_epoch
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Reject a loop that trains no subnets."""
        loop = runner.train_loop
        # Not by class: the ST loops import this module.
        if not isinstance(getattr(loop, 'subnet_inputs', None), SubnetInputs):
            raise ValueError(
                'SubnetSamplerHook needs a train loop that trains subnets, '
                f'but train_cfg sets {type(loop).__name__}: set its type to '
                "'mmst.STEpochBasedTrainLoop' or 'mmst.STIterBasedTrainLoop'"
            )

    def fit(self, runner: Runner) -> SubnetSampler:
        """Fit the sampler to a run: its model, seed and epochs."""
        # With `diff_rank_seed` each rank has a different seed.
        seed = [runner.seed]
        broadcast_object_list(seed)
        self.sampler.seed = seed[0]
        with name_place(PLACE):
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            self.sampler.begin = self.find_begin(
                len(runner.train_dataloader) if by_epoch else None,
                runner.max_iters,
            )
            return self.sampler.fit(unwrap_model(runner.model))

    def find_begin(
        self, epoch_length: Optional[int], num_iterations: int
    ) -> int:
        """Find the first iteration that trains subnets.

        Args:
            epoch_length: Iterations per epoch; ``None`` if the loop has none.
            num_iterations: Iterations of the whole training.
        """
        if isinstance(self.begin, float):
            begin = round(self.begin * num_iterations)
        elif not self.by_epoch or self.begin == 0:
            begin = self.begin
        elif epoch_length is not None:
            begin = self.begin * epoch_length
        else:
            raise ValueError(
                f'begin={self.begin} counts epochs, but the train loop has '
                'none: set by_epoch=False, or begin to a fraction of the '
                'training'
            )
        if begin >= num_iterations:
            raise ValueError(
                f'begin={self.begin} is not before the end of the training, '
                f'{num_iterations} iterations, so no subnet would be '
                'trained: set a smaller one, or num_subnets=0 for plain '
                'training'
            )
        return begin
