"""The hook that decides which subnets an iteration trains."""

from contextlib import contextmanager
from inspect import signature
from typing import Any, Dict, Iterator, Optional

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner

from mmst.models.heads import check_teaching_head
from mmst.registry import HOOKS
from mmst.subnets import SubnetInputs, SubnetSampler, unwrap_model
from mmst.subnets.options import check_count, check_flag, check_names

from ..raise_together import raise_together
from ..replaced_lists import describe_replaced
from ..space_report import report_space
from ..subnet_batch import check_transforms
from ..subnet_scalars import report_subnets
from ..trial import SubnetTrial


@HOOKS.register_module()
class SubnetSamplerHook(Hook):
    """Passes the subnets that a ``SubnetSampler`` draws to the loop.

    It also reports them from time to time, in the log and to every backend of
    the visualizer (LocalVisBackend: ``subnets.json``).

    Args:
        begin: First epoch or iteration, from 0, that trains subnets.
        by_epoch: Whether ``begin`` counts epochs.
        interval: Iterations between two reports of the drawn subnets.
            Default: the interval of the LoggerHook.
        **options: All others are those of
            :class:`mmst.subnets.SubnetSampler`: ``num_subnets``, ``space`` or
            ``min_depth``, ``strategy``, ``size_range`` or ``sizes``,
            ``num_sizes``, ``every``. The seed is the run's, set by
            ``randomness`` in the config.

    Raises:
        ValueError: If the value of an option is not allowed.

    Example:
        >>> hook = SubnetSamplerHook(num_subnets=6, space=[1, 2, 4, 1])
        >>> hook.sampler.num_subnets
        6
    """

    def __init__(
        self,
        begin: int = 0,
        by_epoch: bool = True,
        interval: Optional[int] = None,
        **options: Any,
    ) -> None:
        with _name_hook_in_errors():
            if interval is not None:
                check_count('interval', interval, least=1)
            check_flag('by_epoch', by_epoch)
            _check_options(options)
            self.sampler = SubnetSampler(begin=begin, **options)
        self.begin = begin
        self.by_epoch = by_epoch
        self.interval = interval
        self._reported = False

    def before_train(self, runner: Runner) -> None:
        """Fit the space to the model; refuse unusable settings."""
        self._check_loop(runner.train_loop)
        if self.sampler.is_off:
            return
        if is_main_process():  # it reads the config's bases
            for line in describe_replaced(runner.cfg):
                runner.logger.warning(line)
        model = unwrap_model(runner.model)
        check_teaching_head(model)
        # With `diff_rank_seed` each rank has a different seed.
        seed = [runner.seed]
        broadcast_object_list(seed)
        self.sampler.seed = seed[0]
        self.sampler.begin = self.begin
        if self.by_epoch and self.begin > 0:
            self.sampler.begin *= len(runner.train_dataloader)
        if self.begin > 0 and self.sampler.begin >= runner.max_iters:
            raise ValueError(
                f'SubnetSamplerHook: begin={self.begin} is not before the end '
                f'of the training, {runner.max_iters} iterations, so no '
                'subnet would be trained: set a smaller one, or '
                'num_subnets=0 for plain training'
            )
        with _name_hook_in_errors():
            self.sampler.fit(model)
        if self.interval is None:
            self.interval = next(
                (
                    h.interval
                    for h in runner.hooks
                    if isinstance(h, LoggerHook)
                ),
                10,
            )

    def _check_loop(self, loop: BaseLoop) -> None:
        # Not by class: the ST loops import this module.
        inputs = getattr(loop, 'subnet_inputs', None)
        if not isinstance(inputs, SubnetInputs):
            raise ValueError(
                'SubnetSamplerHook needs a train loop that trains subnets, '
                f'but train_cfg sets {type(loop).__name__}: set its type to '
                "'mmst.STEpochBasedTrainLoop' or 'mmst.STIterBasedTrainLoop'"
            )
        if self.sampler.is_off:
            return
        if (
            self.by_epoch
            and self.begin > 0
            and not isinstance(loop, EpochBasedTrainLoop)
        ):
            raise ValueError(
                f'SubnetSamplerHook: begin={self.begin} counts epochs, but '
                f'{type(loop).__name__} has none: set by_epoch=False'
            )
        if inputs.chained and any(
            isinstance(n, float) for n in self.sampler.sizes.values
        ):
            raise ValueError(
                f'SubnetSamplerHook: sizes {self.sampler.sizes} are '
                'fractions, which chain_inputs=True in train_cfg would '
                'multiply from subnet to subnet: set pixels'
            )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Pass the iteration's subnets to the loop."""
        if self.sampler.is_off:
            return
        if not self._reported:
            with raise_together():
                check_transforms(data_batch, runner.train_loop.subnet_inputs)
                report_space(runner, self.sampler, data_batch)
            SubnetTrial(runner, self.sampler, data_batch).run()
            self._reported = True
        runner.train_loop.subnets = self.sampler.draw(runner.iter)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Report the drawn subnets next to the LoggerHook's line."""
        subnets = getattr(runner.train_loop, 'subnets', ())
        if not subnets:
            return
        assert self.interval is not None
        # One of the last `every` iterations of an interval has subnets.
        left = self.interval - 1 - runner.iter % self.interval
        if left < self.sampler.every:
            report_subnets(runner, self.sampler.stages, subnets)


def _check_options(options: Dict[str, Any]) -> None:
    if 'seed' in options:
        raise ValueError(
            f'seed {options["seed"]!r} cannot be set here, since subnets are '
            "drawn from the run's seed: set "
            f'randomness=dict(seed={options["seed"]!r}) in the config'
        )
    known = [
        *signature(SubnetSamplerHook.__init__).parameters,
        *signature(SubnetSampler).parameters,
    ]
    check_names(
        'SubnetSamplerHook',
        options,
        [n for n in known if n not in ('self', 'options', 'seed')],
    )


@contextmanager
def _name_hook_in_errors() -> Iterator[None]:
    """Prefix errors with the place where the option is set."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f'SubnetSamplerHook in custom_hooks: {error}'
        ) from error
