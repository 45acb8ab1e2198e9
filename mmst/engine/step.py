"""The ST iteration: main network, K subnets, one optimizer step."""

from contextlib import contextmanager, nullcontext
from typing import (
    Any,
    ContextManager,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
from mmengine.dist import all_reduce, all_reduce_params, is_distributed
from mmengine.model import (
    BaseModel,
    MMDistributedDataParallel,
    is_model_wrapper,
)
from mmengine.model.utils import detect_anomalous_params
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmst.models.heads import STClsHead
from mmst.subnets import PassRunner, Subnet, SubnetInputs, unwrap_model

from .pass_batches import PassBatches
from .subnet_batch import copy_samples
from .subnet_errors import name_failing_subnet

Batch = Union[Dict[str, Any], Tuple[Any, ...], List[Any]]
Log = Dict[str, Tensor]


def st_step(
    model: Union[BaseModel, MMDistributedDataParallel],
    data_batch: Batch,
    optim_wrapper: OptimWrapper,
    subnets: Sequence[Subnet],
    pass_runner: Optional[PassRunner] = None,
    subnet_inputs: SubnetInputs = SubnetInputs(),
) -> Log:
    """Train the main network and its subnets on one batch (Eq. 1).

    The losses are summed. Each pass is backpropagated before the next begins,
    so memory does not grow with K. One reduction and one step follow.

    Args:
        model: The model, bare or wrapped for distributed training.
        data_batch: A batch from the data loader.
        optim_wrapper: Its ``accumulative_counts``, clipping and mixed
            precision mean the same as without subnets.
        subnets: The subnets of this iteration, at least one.
        pass_runner: Runs the passes. Default: one that shares prefixes.
        subnet_inputs: How subnets' inputs are made from the main input.

    Returns:
        dict: ``loss``, the sum of all; ``main_loss`` and the main network's
        other losses under their own names; ``subnet0_loss`` and so on.

    Raises:
        FloatingPointError: If a loss is not finite; the model is not updated.
            Not raised with a loss scaler, which skips such steps itself.

    Example:
        >>> subnet = Subnet.ordered((1, 2, 1), (3, 3, 3), size=0.5)
        >>> log = st_step(model, data_batch, optim_wrapper, [subnet])
    """
    with _accumulate_locally(model):
        main_log, subnet_losses = _run_passes(
            model,
            data_batch,
            optim_wrapper,
            subnets,
            pass_runner or PassRunner(model),
            subnet_inputs,
        )
    losses = [main_log['loss'], *subnet_losses]
    _update(model, optim_wrapper, losses, subnets)
    return _join_log(main_log, subnet_losses)


@contextmanager
def _accumulate_locally(model: nn.Module) -> Iterator[None]:
    """Keep DDP from reducing gradients; forget the main logits at the end.

    Its own reduction expects one backward pass an iteration, which uses the
    same parameters each time.
    """
    unsynchronized: ContextManager[None] = nullcontext()
    if is_model_wrapper(model):
        # no_sync() turns it off, but the main pass may broadcast buffers.
        model.require_forward_param_sync = True  # type: ignore[assignment]
        unsynchronized = model.no_sync()
    with unsynchronized:
        try:
            yield
        finally:
            head = getattr(unwrap_model(model), 'head', None)
            if isinstance(head, STClsHead):
                head.forget()


def _run_passes(
    model: nn.Module,
    data_batch: Batch,
    optim_wrapper: OptimWrapper,
    subnets: Sequence[Subnet],
    pass_runner: PassRunner,
    subnet_inputs: SubnetInputs,
) -> Tuple[Log, List[Tensor]]:
    """Run and backpropagate all passes of an iteration."""
    module = unwrap_model(model)
    count = optim_wrapper.inner_count
    with optim_wrapper.optim_context(model):
        data = module.data_preprocessor(data_batch, True)
    batches = PassBatches(data, subnet_inputs, module)
    running: List[Optional[Subnet]] = []
    main_log: Log = {}
    finds_anomalies = getattr(model, 'detect_anomalous_params', False)

    def compute_loss(subnet: Optional[Subnet]) -> Tensor:
        running.append(subnet)
        batch = copy_samples(batches.make(subnet))
        # All passes count as one for gradient accumulation.
        optim_wrapper._inner_count = count
        with optim_wrapper.optim_context(model):
            losses = model._run_forward(batch, mode='loss')
        loss, log_vars = module.parse_losses(losses)
        if subnet is None:
            # Detached: the log must not keep the graph alive.
            main_log.update({k: v.detach() for k, v in log_vars.items()})
        return loss

    def backward(loss: Tensor) -> None:
        optim_wrapper.backward(optim_wrapper.scale_loss(loss))
        # Subnets leave parameters unused on purpose.
        if finds_anomalies and running == [None]:
            detect_anomalous_params(loss, model=model)

    passes: List[Optional[Subnet]] = [None, *subnets]
    inputs = batches.tell_apart(passes)
    if finds_anomalies:
        inputs[0] = 'apart'  # the search needs the main network's whole graph
    with _name_last(running, subnets):
        _, *losses = pass_runner.run(passes, compute_loss, inputs, backward)
    return main_log, losses


@contextmanager
def _name_last(
    running: Sequence[Optional[Subnet]], subnets: Sequence[Subnet]
) -> Iterator[None]:
    """Name the subnet that ran last in exceptions."""
    try:
        yield
    except Exception:
        subnet = running[-1] if running else None
        if subnet is None:
            raise
        # Equal subnets run in their order.
        equal = [k for k, other in enumerate(subnets) if other == subnet]
        with name_failing_subnet(subnet, equal[running.count(subnet) - 1]):
            raise


def _update(
    model: nn.Module,
    optim_wrapper: OptimWrapper,
    losses: Sequence[Tensor],
    subnets: Sequence[Subnet],
) -> None:
    """Check the losses, and take a step if the gradients are complete."""
    is_bad = ~torch.isfinite(torch.stack([*losses]))
    if _skips_bad_steps(optim_wrapper):
        is_bad = is_bad[:0]
    updates = optim_wrapper.should_update()
    if updates and is_distributed():
        trained = [p for p in model.parameters() if p.requires_grad]
        bad, used = _read_flags(is_bad, trained)
        _check_finite(losses, bad, subnets)
        _average_gradients(trained, used)
    else:
        _check_finite(losses, is_bad.tolist(), subnets)
    if updates:
        optim_wrapper.step()
        optim_wrapper.zero_grad()


def _join_log(main_log: Log, subnet_losses: Sequence[Tensor]) -> Log:
    main_loss = main_log.pop('loss')
    return dict(
        loss=main_loss + sum(subnet_losses),
        main_loss=main_loss,
        **main_log,
        **{f'subnet{k}_loss': loss for k, loss in enumerate(subnet_losses)},
    )


def reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over all processes, once, in buckets.

    A gradient that is missing on some ranks counts as zero there. One that is
    missing on all ranks stays missing.

    Example:
        >>> reduce_gradients(model.parameters())  # one process: no change
    """
    if not is_distributed():
        return
    trained = [p for p in parameters if p.requires_grad]
    no_losses = torch.zeros(0, dtype=torch.bool, device=trained[0].device)
    _, used = _read_flags(no_losses, trained)
    _average_gradients(trained, used)


def _read_flags(
    is_bad: Tensor, trained: Sequence[nn.Parameter]
) -> Tuple[List[bool], List[bool]]:
    """Read, with a single wait for the device, what holds on any rank.

    Returns:
        Which losses are bad, and which parameters have a gradient.
    """
    used = [p.grad is not None for p in trained]
    flags = torch.cat([is_bad, is_bad.new_tensor(used)]).to(torch.uint8)
    all_reduce(flags, 'max')
    read = flags.bool().tolist()
    return read[: len(is_bad)], read[len(is_bad) :]


def _average_gradients(
    trained: Sequence[nn.Parameter], used: Sequence[bool]
) -> None:
    gradients = []
    for parameter, is_used in zip(trained, used):
        if is_used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    all_reduce_params(gradients, bucket_size_mb=25, op='mean')


def _skips_bad_steps(optim_wrapper: OptimWrapper) -> bool:
    """Whether a loss scaler skips steps whose gradients are not finite."""
    scaler = getattr(optim_wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _check_finite(
    losses: Sequence[Tensor], bad: Sequence[bool], subnets: Sequence[Subnet]
) -> None:
    """Refuse losses that are bad here or on another rank, by name."""
    if not any(bad):
        return
    names = ['the main network'] + [
        f'subnet {k} ({subnet})' for k, subnet in enumerate(subnets)
    ]
    values = [
        f'{name}: {loss.item()}'
        + (' here, not finite on another rank' if loss.isfinite() else '')
        for name, loss, is_bad in zip(names, losses, bad)
        if is_bad
    ]
    raise FloatingPointError(
        f'loss is not finite in {"; ".join(values)}. Nothing was updated'
    )
