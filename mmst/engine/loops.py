"""Train loops whose iteration is the ST iteration."""

from typing import Any, List, Optional, Sequence

from mmengine.hooks import LoggerHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

from mmst.registry import LOOPS
from mmst.subnets import PassRunner, Subnet, SubnetInputs, compile_blocks
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
        self._pass_runner: Optional[PassRunner] = None

    def run(self) -> Any:
        """Check that subnets can be trained here, then train."""
        hook = self._find_hook()
        self._sampler = hook.sampler
        if not self._sampler.is_off:
            check_training(self, hook)
            self._compile_blocks()
            hook.fit(self.runner)
            forget_scalars(self._sampler.num_subnets)
            intervals = [
                other.interval
                for other in self.runner.hooks
                if isinstance(other, LoggerHook)
            ]
            self._interval = hook.interval or [*intervals, 10][0]
            # So many iterations with subnets later, no network should guess.
            patience = self.max_iters // 10
            if isinstance(self, EpochBasedTrainLoop):
                patience = min(patience, 5 * len(self.dataloader))
            self._judged = self._sampler.begin + patience
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

    def run_iter(self, *args: Any) -> None:
        """Run an iteration on a batch, which follows its index in an epoch."""
        runner, sampler = self.runner, self._sampler
        if sampler.is_off:
            super().run_iter(*args)
            return
        *index, data_batch = args
        told = dict(
            batch_idx=index[0] if index else self._iter, data_batch=data_batch
        )
        self.subnets = sampler.draw(runner.iter)
        runner.call_hook('before_train_iter', **told)
        if self._pass_runner is None:
            self._pass_runner = self._rehearse(data_batch)
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
        runner.call_hook('after_train_iter', **told, outputs=outputs)
        # One of the last `every` iterations of an interval has subnets.
        left = self._interval - 1 - runner.iter % self._interval
        if self.subnets and left < sampler.every:
            report_subnets(runner, sampler.stages, self.subnets)
        if runner.iter + 1 == self._judged:
            warn_of_guessing(runner, sampler.num_subnets)
        self._iter += 1

    def _rehearse(self, data_batch: Any) -> PassRunner:
        """Rehearse an iteration, and make the runner that suits it."""
        self.why_apart, self._copy_inputs = rehearse(
            self, self._sampler, data_batch
        )
        return PassRunner(
            self.runner.model,
            share=self.why_apart is None,
            update_running_stats=self.update_running_stats,
        )


def explain_apart(
    share_prefixes: bool = True,
    update_running_stats: bool = False,
    input_transforms: Sequence[str] = (),
    chain_inputs: bool = False,
    **others: Any,
) -> Optional[str]:
    """Explain why passes run apart with a train_cfg; None if they share."""
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


@LOOPS.register_module()
class STIterBasedTrainLoop(STLoopMixin, IterBasedTrainLoop):
    """:class:`mmengine.runner.IterBasedTrainLoop` with ST iterations.

    Example:
        >>> loop = STIterBasedTrainLoop(
        ...     runner, runner.cfg.train_dataloader, max_iters=8)
        >>> loop.subnets  # drawn before every iteration
        []
    """
