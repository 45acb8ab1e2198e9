"""Train loops whose iteration is the ST iteration."""

from typing import Any, List, Optional, Sequence

from mmengine.dist import get_world_size
from mmengine.model import (
    BaseAveragedModel,
    BaseModel,
    MMDistributedDataParallel,
    is_model_wrapper,
)
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from mmst.registry import LOOPS
from mmst.subnets import PassRunner, Subnet, SubnetInputs, compile_blocks
from mmst.subnets.options import check_flag
from mmst.targets import prepare_dataset

from .hooks.prepare_dataset_hook import PrepareDatasetHook
from .hooks.subnet_sampler_hook import SubnetSamplerHook
from .prefix_sharing import explain_apart
from .step import st_step
from .subnet_errors import prefix_errors


class STLoopMixin(BaseLoop):
    """Turns a train loop of MMEngine into one of stimulative training.

    :class:`mmst.engine.SubnetSamplerHook` fills ``subnets`` before every
    iteration. Where it leaves them empty, the iteration is MMEngine's own.

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
        *args: As for the loop of MMEngine.
        **kwargs: As for the loop of MMEngine.
    """

    subnets: List[Subnet] = []

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
        if self._trains_subnets():
            self.runner.register_hook(PrepareDatasetHook(), priority='LOWEST')
        with prefix_errors(f'{type(self).__name__} in train_cfg'):
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

    @property
    def dataloader(self) -> DataLoader[Any]:
        """The data loader, its data set prepared for subnets."""
        return self._dataloader

    @dataloader.setter
    def dataloader(self, dataloader: DataLoader[Any]) -> None:
        # First set in the loop's own __init__, before workers start:
        # iteration-based loops start them there.
        if self._trains_subnets():
            prepare_dataset(dataloader.dataset)
        self._dataloader = dataloader

    def _find_sampler(self) -> Optional[SubnetSamplerHook]:
        samplers = [
            h for h in self.runner.hooks if isinstance(h, SubnetSamplerHook)
        ]
        if len(samplers) > 1:
            raise ValueError(
                f'custom_hooks has {len(samplers)} SubnetSamplerHooks: keep '
                'only one'
            )
        return samplers[0] if samplers else None

    def _trains_subnets(self) -> bool:
        hook = self._find_sampler()
        return hook is not None and not hook.sampler.is_off

    def run(self) -> Any:
        """Check that subnets can be trained here, then train."""
        if self._find_sampler() is None:
            raise ValueError(
                f'train_cfg has the loop {type(self).__name__}, but no hook '
                'says which subnets to train: add '
                "dict(type='mmst.SubnetSamplerHook', ...) to custom_hooks, or "
                'use a loop of MMEngine'
            )
        if self._trains_subnets():
            self._check_runner()
            self._compile_blocks()
            self.pass_runner = PassRunner(
                self.runner.model,
                share=self.why_apart is None,
                update_running_stats=self.update_running_stats,
            )
        return super().run()

    def _check_runner(self) -> None:
        """Refuse what the ST iteration would have to ignore."""
        model, optim_wrapper = self.runner.model, self.runner.optim_wrapper
        if is_model_wrapper(model):
            _check_wrapper(model)
            model = model.module
        if (
            isinstance(optim_wrapper, OptimWrapperDict)
            or type(optim_wrapper).update_params
            is not OptimWrapper.update_params
        ):
            raise ValueError(
                'stimulative training takes one optimizer step per iteration, '
                f'which {type(optim_wrapper).__name__} does not allow: set '
                '`optim_wrapper` to a wrapper with one optimizer that does '
                'not override `update_params`'
            )
        if type(model).train_step is not BaseModel.train_step:
            raise ValueError(
                f'{type(model).__name__} overrides train_step, which an ST '
                'iteration does not call: this model cannot be trained with '
                'subnets'
            )
        _check_momentum_copies(model)
        _check_hooks(self)

    def _compile_blocks(self) -> None:
        """Compile block by block where the config asks to compile."""
        options = self.runner.cfg.get('compile')
        # As MMEngine reads it: an empty dict compiles too.
        if options in (None, False):
            return
        # Put there by MMEngine, compiled as a whole, so that no block could
        # be skipped. ST iterations never call it.
        vars(self.runner.model).pop('train_step', None)
        compile_blocks(
            self.runner.model, **({} if options is True else options)
        )
        self.runner.logger.info(
            'Residual blocks are compiled one by one, so that subnets can '
            'skip them'
        )

    def _run_st_iter(self, batch_idx: int, data_batch: Any) -> None:
        runner = self.runner
        runner.call_hook(
            'before_train_iter', batch_idx=batch_idx, data_batch=data_batch
        )
        if self.subnets:
            with prefix_errors(f'iteration {runner.iter + 1}'):
                outputs = st_step(
                    runner.model,
                    data_batch,
                    runner.optim_wrapper,
                    self.subnets,
                    self.pass_runner,
                    self.subnet_inputs,
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
        self._iter += 1


def _check_momentum_copies(model: nn.Module) -> None:
    """Refuse models whose passes do more than compute losses."""
    for name, module in model.named_modules():
        if isinstance(module, BaseAveragedModel):
            raise ValueError(
                f'{type(model).__name__} updates its momentum copy '
                f'`{name}` in every pass, so several times per iteration: '
                'this model cannot be trained with subnets'
            )


def _check_hooks(loop: BaseLoop) -> None:
    """Refuse a queue that each pass fills, and statistics of no batch."""
    for hook in loop.runner.hooks:
        kind = type(hook).__name__
        if kind == 'SwAVHook' and hook.queue_length > 0:
            raise ValueError(
                f'SwAVHook: queue_length={hook.queue_length} fills a queue in '
                'every pass, so several times per iteration: set it to 0'
            )
        if kind != 'PreciseBNHook':
            continue
        batch = loop.dataloader.batch_size or 1
        if hook.num_samples < batch * get_world_size():
            raise ValueError(
                f'PreciseBNHook: num_samples={hook.num_samples} is less than '
                f'one batch of all processes, {batch} x {get_world_size()}, '
                'so all BatchNorm statistics would become zero: raise '
                'num_samples'
            )


def _check_wrapper(wrapper: nn.Module) -> None:
    """Refuse wrappers that do not step as plain DDP does."""
    if (
        not isinstance(wrapper, MMDistributedDataParallel)
        or type(wrapper).train_step is not MMDistributedDataParallel.train_step
    ):
        raise ValueError(
            'stimulative training reduces gradients itself and works with '
            'MMDistributedDataParallel only, not with '
            f'{type(wrapper).__name__}: change `model_wrapper_cfg`'
        )
    if wrapper.static_graph:
        raise ValueError(
            'static_graph=True expects the same graph in every pass, but '
            'subnets skip blocks: set static_graph=False in '
            '`model_wrapper_cfg`'
        )


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
        >>> loop.subnets  # filled by the hook, before every iteration
        []
    """

    def run_iter(self, data_batch: Any) -> None:
        """Run one ST iteration."""
        self._run_st_iter(self._iter, data_batch)
