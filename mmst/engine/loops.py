"""Train loops whose iteration is the ST iteration."""

from typing import Any, List, Optional, Sequence

from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

from mmst.registry import LOOPS
from mmst.subnets import (
    PassRunner,
    Subnet,
    SubnetInputs,
    SubnetSampler,
    compile_blocks,
)
from mmst.subnets.options import check_flag

from .checks import check_training
from .hooks.subnet_sampler_hook import SubnetSamplerHook
from .rehearsal import rehearse
from .report import forget_scalars, report_subnets, warn_of_guessing
from .step import name_place, st_step


class STLoopMixin(BaseLoop):
    """Turns a train loop of MMEngine into one of stimulative training.

    :class:`mmst.engine.SubnetSamplerHook` decides which subnets are trained.
    Iterations without subnets are MMEngine's own. Before the first one, the
    iteration is rehearsed on a copy of the model, see
    :func:`mmst.engine.rehearsal.rehearse`.

    Args:
        update_running_stats: Whether subnets update the running statistics of
            norm layers, as in the authors' released code. By default these
            stay the main network's own.
        input_transforms: Transforms of subnets' inputs besides resizing; see
            :class:`mmst.subnets.SubnetInputs`.
        chain_inputs: Whether each subnet's input is made from the previous
            subnet's.
        share_prefixes: Whether passes on one input share prefixes of blocks,
            see :class:`mmst.subnets.PassRunner`. With any of the other
            options they have none in common.
        *args: Positional arguments of the loop of MMEngine.
        **kwargs: Keyword arguments of the loop of MMEngine.

    Attributes:
        subnets: The subnets of the current iteration.
    """

    def __init__(
        self,
        *args: Any,
        update_running_stats: bool = False,
        input_transforms: Sequence[str] = (),
        chain_inputs: bool = False,
        share_prefixes: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        with name_place(f'{type(self).__name__} in train_cfg'):
            check_flag('update_running_stats', update_running_stats)
            check_flag('share_prefixes', share_prefixes)
            self.subnet_inputs = SubnetInputs(input_transforms, chain_inputs)
        self.update_running_stats = update_running_stats
        self.why_apart = explain_apart(
            share_prefixes,
            update_running_stats,
            input_transforms,
            chain_inputs,
        )
        self.subnets: List[Subnet] = []
        self._sampler: Optional[SubnetSampler] = None
        self._is_rehearsed = False
        self._copy_inputs = False

    def run(self) -> Any:
        """Check that subnets can be trained here, then train."""
        hook = self._find_hook()
        if not hook.sampler.is_off:
            check_training(self, hook)
            self._compile_blocks()
            self._sampler = hook.fit(self.runner)
            self._interval = hook.find_interval(self.runner)
            self._judged = self._sampler.begin + self._find_patience()
            forget_scalars(self._sampler.num_subnets)
            self._make_pass_runner()
        return super().run()

    def _find_hook(self) -> SubnetSamplerHook:
        hooks = [
            h for h in self.runner.hooks if isinstance(h, SubnetSamplerHook)
        ]
        if not hooks:
            raise ValueError(
                f'train_cfg has the loop {type(self).__name__}, but no hook '
                'says which subnets to train: add '
                "dict(type='mmst.SubnetSamplerHook', ...) to custom_hooks, or "
                'use a loop of MMEngine'
            )
        if len(hooks) > 1:
            raise ValueError(
                f'custom_hooks has {len(hooks)} SubnetSamplerHooks: keep '
                'only one'
            )
        return hooks[0]

    def _compile_blocks(self) -> None:
        """Compile block by block where the config asks to compile."""
        options = self.runner.cfg.get('compile')
        # MMEngine compiles for an empty dict, too.
        if options in (None, False):
            return
        # MMEngine compiled train_step as a whole; blocks could not be
        # skipped, and ST iterations never call it.
        vars(self.runner.model).pop('train_step', None)
        compile_blocks(
            self.runner.model, **({} if options is True else options)
        )
        self.runner.logger.info(
            'Residual blocks are compiled one by one, so that subnets can '
            'skip them'
        )

    def _make_pass_runner(self) -> None:
        self._pass_runner = PassRunner(
            self.runner.model,
            share=self.why_apart is None,
            update_running_stats=self.update_running_stats,
        )

    def _rehearse(self, data_batch: Any) -> None:
        assert self._sampler is not None
        findings = rehearse(self, self._sampler, data_batch)
        self._copy_inputs = findings.writes_inputs
        if findings.why_apart is not None:
            self.why_apart = findings.why_apart
            self._make_pass_runner()
        self._is_rehearsed = True

    def _run_st_iter(self, batch_idx: int, data_batch: Any) -> None:
        runner = self.runner
        if self._sampler is not None:
            self.subnets = self._sampler.draw(runner.iter)
        runner.call_hook(
            'before_train_iter', batch_idx=batch_idx, data_batch=data_batch
        )
        if self._sampler is not None and not self._is_rehearsed:
            self._rehearse(data_batch)
        if self.subnets:
            with name_place(f'iteration {runner.iter + 1}'):
                outputs = st_step(
                    runner.model,
                    data_batch,
                    runner.optim_wrapper,
                    self.subnets,
                    self._pass_runner,
                    self.subnet_inputs,
                    self.dataloader.dataset,
                    self._copy_inputs,
                )
        else:
            outputs = runner.model.train_step(
                data_batch, optim_wrapper=runner.optim_wrapper
            )
        runner.call_hook(
            'after_train_iter',
            batch_idx=batch_idx,
            data_batch=data_batch,
            outputs=outputs,
        )
        if self.subnets and self._is_report_due():
            assert self._sampler is not None
            report_subnets(runner, self._sampler.stages, self.subnets)
        if self._sampler is not None and runner.iter + 1 == self._judged:
            warn_of_guessing(runner, self._sampler.num_subnets)
        self._iter += 1

    def _find_patience(self) -> int:
        """Find after how many iterations a network should not guess."""
        patience = self.max_iters // 10
        if isinstance(self, EpochBasedTrainLoop):
            patience = min(patience, 5 * len(self.dataloader))
        return patience

    def _is_report_due(self) -> bool:
        """Whether the LoggerHook's interval ends now, or without subnets."""
        assert self._sampler is not None
        # One of the last `every` iterations of an interval has subnets.
        left = self._interval - 1 - self.runner.iter % self._interval
        return left < self._sampler.every


def explain_apart(
    share_prefixes: bool = True,
    update_running_stats: bool = False,
    input_transforms: Sequence[str] = (),
    chain_inputs: bool = False,
    **others: Any,
) -> Optional[str]:
    """Explain why each pass runs by itself; ``None`` where passes share.

    Args:
        share_prefixes: Option of :class:`mmst.engine.loops.STLoopMixin`.
        update_running_stats: Option of :class:`mmst.engine.loops.STLoopMixin`.
        input_transforms: Option of :class:`mmst.engine.loops.STLoopMixin`.
        chain_inputs: Option of :class:`mmst.engine.loops.STLoopMixin`.
        **others: Anything else in ``train_cfg``.
    """
    if not share_prefixes:
        return 'share_prefixes=False in train_cfg'
    if update_running_stats:
        return 'every subnet updates running statistics'
    if chain_inputs:
        return "each subnet's input is made from the previous one's"
    if input_transforms:
        return 'each subnet has its own input'
    return None


@LOOPS.register_module()
class STEpochBasedTrainLoop(STLoopMixin, EpochBasedTrainLoop):
    """:class:`mmengine.runner.EpochBasedTrainLoop` with ST iterations.

    Example:
        >>> loop = STEpochBasedTrainLoop(
        ...     runner, runner.cfg.train_dataloader, max_epochs=2)
        >>> loop.max_iters
        6
    """

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one ST iteration on the ``idx``-th batch of the epoch."""
        self._run_st_iter(idx, data_batch)


@LOOPS.register_module()
class STIterBasedTrainLoop(STLoopMixin, IterBasedTrainLoop):
    """:class:`mmengine.runner.IterBasedTrainLoop` with ST iterations.

    Example:
        >>> loop = STIterBasedTrainLoop(
        ...     runner, runner.cfg.train_dataloader, max_iters=8)
        >>> loop.subnets  # drawn before every iteration
        []
    """

    def run_iter(self, data_batch: Any) -> None:
        """Run one ST iteration."""
        self._run_st_iter(self._iter, data_batch)
