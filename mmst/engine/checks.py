"""Settings that an ST iteration cannot honour, rejected before training."""

from typing import Any

from mmengine.dist import get_world_size
from mmengine.model import (
    BaseAveragedModel,
    BaseModel,
    MMDistributedDataParallel,
    is_model_wrapper,
)
from mmengine.optim import OptimWrapper, OptimWrapperDict

from mmst.models import check_teaching_head
from mmst.subnets import unwrap_model


def check_training(loop: Any, sampler_hook: Any) -> None:
    """Reject what settings alone show to be wrong, in this order.

    Args:
        loop: The ST train loop, before its first iteration.
        sampler_hook: The hook that decides which subnets are trained.

    Raises:
        ValueError: If a setting cannot be honoured.
    """
    sizes = sampler_hook.sampler.sizes
    if loop.subnet_inputs.chained and any(
        isinstance(size, float) for size in sizes.values
    ):
        raise ValueError(
            f'SubnetSamplerHook: sizes {sizes} are fractions, which '
            'chain_inputs=True in train_cfg would multiply from subnet to '
            'subnet: set pixels'
        )
    if is_model_wrapper(loop.runner.model):
        _check_wrapper(loop.runner.model)
    kind = type(loop.runner.optim_wrapper)
    if (
        issubclass(kind, OptimWrapperDict)
        or kind.update_params is not OptimWrapper.update_params
    ):
        raise ValueError(
            'stimulative training takes one optimizer step per iteration, '
            f'which {kind.__name__} does not allow: set `optim_wrapper` to a '
            'wrapper with one optimizer that does not override '
            '`update_params`'
        )
    _check_model(unwrap_model(loop.runner.model))
    for hook in loop.runner.hooks:
        _check_hook(loop, hook)


def _check_wrapper(model: Any) -> None:
    """Reject wrappers that do not step as plain DDP does."""
    if (
        not isinstance(model, MMDistributedDataParallel)
        or type(model).train_step is not MMDistributedDataParallel.train_step
    ):
        raise ValueError(
            'stimulative training reduces gradients itself and works with '
            'MMDistributedDataParallel only, not with '
            f'{type(model).__name__}: change `model_wrapper_cfg`'
        )
    if model.static_graph:
        raise ValueError(
            'static_graph=True expects the same graph in every pass, but '
            'subnets skip blocks: set static_graph=False in '
            '`model_wrapper_cfg`'
        )


def _check_model(model: Any) -> None:
    """Reject models whose passes do more, or teach less, than they have to."""
    name = type(model).__name__
    if type(model).train_step is not BaseModel.train_step:
        raise ValueError(
            f'{name} overrides train_step, which an ST iteration does not '
            'call: this model cannot be trained with subnets'
        )
    for path, module in model.named_modules():
        if isinstance(module, BaseAveragedModel):
            raise ValueError(
                f'{name} updates its momentum copy `{path}` in every pass, '
                'so several times per iteration: this model cannot be '
                'trained with subnets'
            )
    check_teaching_head(model)


def _check_hook(loop: Any, hook: Any) -> None:
    """Reject a queue that each pass fills, and statistics of no batch."""
    kind = type(hook).__name__
    if kind == 'SwAVHook' and hook.queue_length > 0:
        raise ValueError(
            f'SwAVHook: queue_length={hook.queue_length} fills a queue in '
            'every pass, so several times per iteration: set it to 0'
        )
    if kind == 'PreciseBNHook':
        batch = loop.dataloader.batch_size or 1
        if hook.num_samples < batch * get_world_size():
            raise ValueError(
                f'PreciseBNHook: num_samples={hook.num_samples} is less than '
                f'one batch of all processes, {batch} x {get_world_size()}, '
                'so all BatchNorm statistics would become zero: raise '
                'num_samples'
            )
