"""The ST iteration: main network, K subnets, one optimizer step."""

import copy
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence

import torch
from mmengine.dist import all_reduce, all_reduce_params, is_distributed
from mmengine.logging import MessageHub
from mmengine.model import is_model_wrapper
from mmengine.model.utils import detect_anomalous_params
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmst.models import STClsHead
from mmst.subnets import PassRunner, Subnet, SubnetInputs, unwrap_model

from .batch import PassBatches

Log = Dict[str, Tensor]


def st_step(
    model: nn.Module,
    data_batch: Any,
    optim_wrapper: OptimWrapper,
    subnets: Sequence[Subnet],
    pass_runner: Optional[PassRunner] = None,
    subnet_inputs: SubnetInputs = SubnetInputs(),
    dataset: Any = None,
    copy_inputs: bool = False,
) -> Log:
    """Train the main network and its subnets on one batch (Eq. 1).

    The losses are summed. Each pass is backpropagated before the next begins,
    so memory does not grow with K. One reduction and one step follow.

    Args:
        model: The ``BaseModel``, bare or in ``MMDistributedDataParallel``.
        data_batch: A batch from the data loader.
        optim_wrapper: Its ``accumulative_counts``, clipping and mixed
            precision mean the same as without subnets.
        subnets: The subnets of this iteration, at least one.
        pass_runner: Runs the passes. Default: one that shares prefixes.
        subnet_inputs: How subnets' inputs are made from the main input.
        dataset: The training data set, from which handlers of targets read
            how these were made.
        copy_inputs: Whether each pass gets a copy of its images, for models
            that write into them.

    Returns:
        dict: ``loss``, the sum of all; ``main_loss`` and the main network's
        other losses under their own names; ``subnet0_loss`` and so on.

    Raises:
        FloatingPointError: If a loss is not finite; the model is not updated.
            Not raised with a loss scaler, which skips such steps itself.
        ValueError: If a loss of the model has a name that the log needs.

    Example:
        >>> subnet = Subnet.ordered((1, 2, 1), (3, 3, 3), size=0.5)
        >>> log = st_step(model, data_batch, optim_wrapper, [subnet])
    """
    module: Any = unwrap_model(model)
    passes = [None, *subnets]
    pass_runner = pass_runner or PassRunner(model)
    count = optim_wrapper.inner_count
    finds_anomalies = getattr(model, 'detect_anomalous_params', False)
    with optim_wrapper.optim_context(model):
        data = module.data_preprocessor(data_batch, True)
    batches = PassBatches(data, subnet_inputs, module, dataset, copy_inputs)
    keys = batches.list_keys(passes)
    if finds_anomalies:
        keys[0] = 'apart'  # the search walks the main network's whole graph
    losses: List[Any] = [None] * len(passes)
    main_log: Log = {}
    with ExitStack() as stack:
        if is_model_wrapper(model):
            # DDP's own reduction expects one backward pass an iteration, which
            # uses the same parameters each time. no_sync() turns it off, but
            # the main pass may broadcast buffers.
            model.require_forward_param_sync = True  # type: ignore[assignment]
            stack.enter_context(model.no_sync())
        if isinstance(getattr(module, 'head', None), STClsHead):
            stack.callback(module.head.forget)  # the main logits
        for one in pass_runner.plan(passes, keys):
            with mark_pass(one.index, one.subnet), one:
                # All passes count as one for gradient accumulation.
                optim_wrapper._inner_count = count
                batch = batches.make(one.subnet)
                with optim_wrapper.optim_context(model):
                    results = model._run_forward(batch, mode='loss')
                loss, log = module.parse_losses(results)
                one.backward(
                    optim_wrapper.scale_loss(loss), optim_wrapper.backward
                )
                # Detached: the log must not keep the graph alive.
                losses[one.index] = loss.detach()
                if one.subnet is None:
                    main_log = {k: v.detach() for k, v in log.items()}
                    if finds_anomalies:  # subnets leave out some on purpose
                        detect_anomalous_params(loss, model=model)
    log = _join_logs(main_log, losses)
    _update(model, optim_wrapper, losses, subnets)
    return log


@contextmanager
def name_place(place: str) -> Iterator[None]:
    """Prefix exceptions raised inside with a place, such as 'iteration 7'.

    They keep their types and tracebacks.
    """
    try:
        yield
    except Exception as error:
        text = f'{place}: {error}'
        error.args = (text, *error.args[1:])
        if place not in str(error):  # a type that ignores its arguments
            raise RuntimeError(text) from error
        raise


@contextmanager
def mark_pass(index: int, subnet: Optional[Subnet]) -> Iterator[None]:
    """Name a subnet in its exceptions, and keep its figures out of the log."""
    if subnet is None:
        yield
        return
    try:
        with log_apart():
            yield
    except Exception:
        with name_place(f'subnet {index - 1} ({subnet})'):
            raise


@contextmanager
def log_apart() -> Iterator[None]:
    """Keep out of the log what a model writes into the message hub."""
    hub = MessageHub.get_current_instance()
    kept = hub._log_scalars, hub._runtime_info
    # Buffers replace their arrays when they grow.
    hub._log_scalars = OrderedDict(
        (name, copy.copy(buffer)) for name, buffer in kept[0].items()
    )
    hub._runtime_info = OrderedDict(kept[1])
    try:
        yield
    finally:
        hub._log_scalars, hub._runtime_info = kept


def _update(
    model: nn.Module,
    optim_wrapper: OptimWrapper,
    losses: Sequence[Tensor],
    subnets: Sequence[Subnet],
) -> None:
    """Check the losses, and take a step if the gradients are complete."""
    is_bad = ~torch.isfinite(torch.stack([*losses]))
    scaler = getattr(optim_wrapper, 'loss_scaler', None)
    if scaler is not None and scaler.is_enabled():
        is_bad = is_bad[:0]  # it skips steps whose gradients are not finite
    updates = optim_wrapper.should_update()
    if updates and is_distributed():
        bad = _reduce(model.parameters(), is_bad)
    else:
        bad = is_bad.tolist()
    if any(bad):
        names = ['the main network']
        names += [f'subnet {k} ({subnet})' for k, subnet in enumerate(subnets)]
        found = [
            f'{name}: {loss.item()}'
            + (' here, not finite on another rank' if loss.isfinite() else '')
            for name, loss, fails in zip(names, losses, bad)
            if fails
        ]
        raise FloatingPointError(
            f'loss is not finite in {"; ".join(found)}. Nothing was updated'
        )
    if updates:
        optim_wrapper.step()
        optim_wrapper.zero_grad()


def _join_logs(main_log: Log, losses: Sequence[Tensor]) -> Log:
    main_loss, *subnet_losses = losses
    named = {f'subnet{k}_loss': loss for k, loss in enumerate(subnet_losses)}
    for name in ('main_loss', *named):
        if name in main_log:
            raise ValueError(
                f'the model has a loss or figure named `{name}`, as the log '
                "of an ST iteration names one of its own: rename the model's"
            )
    total = torch.stack([*losses]).sum()
    others = {k: v for k, v in main_log.items() if k != 'loss'}
    return dict(loss=total, main_loss=main_loss, **others, **named)


def reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over all processes, once, in buckets.

    A gradient that is missing on some ranks counts as zero there. One that is
    missing on all ranks stays missing.

    Example:
        >>> reduce_gradients(model.parameters())  # one process: no change
    """
    if is_distributed():
        _reduce(parameters, torch.zeros(0, dtype=torch.bool))


def _reduce(parameters: Iterable[nn.Parameter], is_bad: Tensor) -> List[bool]:
    """Average gradients; tell, by the same flags, which losses are bad."""
    trained = [p for p in parameters if p.requires_grad]
    has_gradient = torch.tensor([p.grad is not None for p in trained])
    flags = torch.cat([is_bad, has_gradient.to(is_bad.device)]).byte()
    all_reduce(flags, 'max')
    bad_or_used = flags.bool().tolist()
    gradients = []
    for parameter, is_used in zip(trained, bad_or_used[len(is_bad) :]):
        if is_used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    all_reduce_params(gradients, bucket_size_mb=25, op='mean')
    return bad_or_used[: len(is_bad)]
