"""Run several passes of a model, each shared prefix of blocks once."""

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from os.path import commonprefix
from typing import (
    Any,
    Callable,
    Dict,
    Hashable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel

from .activation import check_replicas, run_paths
from .compilation import check_not_compiled
from .same_call import TURN_OFF, Call
from .stages import Stage, find_network, replace_forward, shadow_attribute
from .subnet import Path, Subnet
from .verify import Outcome, find_difference, record

Loss = Callable[[Optional[Subnet]], Tensor]
Backward = Callable[[Tensor], Any]
# Index of a pass, and the number of first blocks that it and the next one on
# its input have in common; ``None`` for the last.
Place = Tuple[int, Optional[int]]


def order_passes(
    stages: Sequence[Stage],
    subnets: Sequence[Optional[Subnet]],
    inputs: Sequence[Hashable],
) -> List[List[Place]]:
    """Order the passes on each input so that they share most.

    Passes with a long common prefix of blocks become neighbours. The main
    network, which runs every block, is the first on its input. Inputs are in
    the order of their first passes.
    """
    if len(subnets) != len(inputs):
        raise ValueError(
            f'got {len(subnets)} passes but {len(inputs)} inputs: give one '
            'input for each pass'
        )
    passes = [_list_block_paths(stages, subnet) for subnet in subnets]
    groups: Dict[Hashable, List[int]] = {}
    for index, key in enumerate(inputs):
        groups.setdefault(key, []).append(index)
    ordered = []
    for group in groups.values():
        group.sort(key=lambda index: passes[index])
        pairs = zip(group, group[1:])
        common = [len(commonprefix([passes[i], passes[j]])) for i, j in pairs]
        ordered.append([*zip(group, [*common, None])])
    return ordered


def _list_block_paths(
    stages: Sequence[Stage], subnet: Optional[Subnet]
) -> List[int]:
    """List a number for the path through each block; 0 for the whole block."""
    if subnet is None:
        return [0] * sum(map(len, stages))
    return [
        # A block without a shortcut is its residual branch already.
        0 if path is Path.BRANCH and block.shortcut is None else _RANK[path]
        for stage, paths in zip(stages, subnet.paths)
        for block, path in zip(stage.blocks, paths)
    ]


_RANK = {path: number for number, path in enumerate(Path)}


class PassRunner:
    """Trains several passes of a model and runs what they share once.

    Each distinct prefix of blocks runs forward once and backward once, and
    memory stays that of one pass. Losses and gradients equal those of
    separate passes; dropout and stochastic depth are drawn once for what is
    shared.

    How: outputs of blocks, and of layers before and between them, are cut
    from the graph where the next pass shares the call. It gets copies instead
    of running the modules; their own forward hooks still run. Gradients
    accumulate in the copies until no later pass shares the call.

    Where a call is not provably the same (``mmst/subnets/same_call.py``), the
    pass goes on by itself, as in parts that are checkpointed as a whole, in
    modules with hooks inside, and where the loss needs gradients of the input.

    Args:
        model: The model, a backbone or anything around it, DDP included
            (inside ``no_sync``). Its blocks must not be replaced later.
        share: Whether passes share; if not, each runs by itself.
        update_running_stats: Option of :func:`mmst.subnets.activate`. Nothing
            is shared then, since each subnet has to update them.

    Attributes:
        stages: The stages of the model's backbone.
        parted: Where a pass went on by itself although its blocks are those
            of the pass before, and why; ``None`` if none did.

    Raises:
        TypeError: If the model's stages cannot be found.
        ValueError: If passes are to share and the model is in
            ``nn.DataParallel``, which runs copies of it.

    Example:
        >>> runner = PassRunner(model)
        >>> for one in runner.plan([None, *subnets]):
        ...     with one:  # the model is this network
        ...         if one.subnet is None:
        ...             main = model(images)
        ...             loss = cross_entropy(main, labels)
        ...         else:
        ...             loss = kl_minus(model(images), main)
        ...         one.backward(loss)
        >>> optimizer.step()
    """

    def __init__(
        self,
        model: nn.Module,
        share: bool = True,
        update_running_stats: bool = False,
    ) -> None:
        check_not_compiled(model)
        self._backbone, self.stages = find_network(model)
        self.parted: Optional[str] = None
        self._model = model
        self._share = share and not update_running_stats
        self._update_running_stats = update_running_stats
        if self._share and any(
            isinstance(module, DataParallel) for module in model.modules()
        ):
            raise ValueError(
                'nn.DataParallel runs copies of the network, whose passes '
                'cannot share blocks: use DistributedDataParallel, or '
                f'{TURN_OFF}'
            )
        blocks = [block for stage in self.stages for block in stage.blocks]
        self._blocks = {block.module: i for i, block in enumerate(blocks)}
        self._watched = [*self._blocks]
        _collect_between(self._backbone, self._blocks, self._watched)
        self._versions: List[Tuple[int, ...]] = []

    def plan(
        self,
        subnets: Sequence[Optional[Subnet]],
        inputs: Optional[Sequence[Hashable]] = None,
    ) -> Iterator['Pass']:
        """Yield the passes in the order that shares most.

        Enter each pass, run the model in it, and call its ``backward``
        instead of ``loss.backward()``. Run them all: what several passes
        share is backpropagated in the last of them.

        Args:
            subnets: The passes: subnets, and ``None`` for the main network,
                which has to come first.
            inputs: For each pass, a key of its input; passes with equal keys
                become neighbours. Default: the subnets' sizes, ``None`` for
                the main network.

        Raises:
            ValueError: If a subnet does not fit the model's stages, or the
                main network is not the first.
            RuntimeError: If a pass ends without ``backward``, what passes
                share is overwritten, or the model already runs as a subnet.
        """
        if None in subnets[1:]:
            raise ValueError(
                'the main network (None) runs once, before all subnets: make '
                'it the first of the passes'
            )
        if isinstance(self._model, DataParallel):
            check_replicas(self.stages, filter(None, subnets))
        if inputs is None:
            inputs = [subnet and subnet.size for subnet in subnets]
        if not self._share:
            inputs = range(len(subnets))
        groups = order_passes(self.stages, subnets, inputs)
        self._modules = [*self._model.modules()]
        self._parameters = [*self._model.parameters()]
        # Attributes of each watched module and of all modules in it; a pass
        # alone on its input watches none.
        self._parts = {
            module: [vars(part) for part in module.modules()]
            for module in (self._watched if len(groups) < len(subnets) else ())
        }
        for group in groups:
            calls: List[Call] = []
            for index, num_common in group:
                one = Pass(index, subnets[index], self, calls, num_common)
                try:
                    yield one
                except GeneratorExit:
                    if calls and one.is_done:
                        warnings.warn(
                            'the loop over the passes ended early: gradients '
                            'of the blocks that they share are incomplete',
                            stacklevel=2,
                        )
                    raise

    def run(
        self,
        subnets: Sequence[Optional[Subnet]],
        loss: Loss,
        inputs: Optional[Sequence[Hashable]] = None,
        backward: Backward = torch.autograd.backward,
    ) -> List[Tensor]:
        """Run and backpropagate all passes of :meth:`plan`.

        Args:
            subnets: Passes, see :meth:`plan`.
            loss: Called with each of these, to run the model, which then is
                that subnet, and return the loss.
            inputs: Keys of inputs, see :meth:`plan`.
            backward: Option ``how`` of :meth:`Pass.backward`.

        Returns:
            list: The losses, detached, in the order of ``subnets``.
        """
        losses: Dict[int, Tensor] = {}
        for one in self.plan(subnets, inputs):
            with one:
                value = loss(one.subnet)
                one.backward(value, backward)
            losses[one.index] = value.detach()
        return [losses[index] for index in sorted(losses)]

    def verify(
        self,
        subnets: Sequence[Optional[Subnet]],
        loss: Loss,
        inputs: Optional[Sequence[Hashable]] = None,
        tolerance: Optional[float] = None,
    ) -> Optional[str]:
        """Compare passes that share with the same passes apart.

        Each module draws the same numbers in both from PyTorch's generator;
        NumPy's and Python's give each pass other ones. Gradients, buffers,
        modes and random states are as before afterwards.

        Args:
            subnets: Passes, see :meth:`plan`.
            loss: Function of :meth:`run`; called twice for each pass.
            inputs: Keys of inputs, see :meth:`plan`.
            tolerance: Largest relative difference. Default: 1e-6 for losses
                in float64, 1e-2 in float32, 0.1 in half precision.

        Returns:
            str: A sentence on what differs, and how much; ``None`` if nothing
            does.

        Example:
            >>> def loss(subnet):
            ...     return model(images).square().mean()
            >>> PassRunner(model).verify([None, *subnets], loss) is None
            True
        """
        if not self._share:
            return None

        def run(runner: PassRunner) -> Outcome:
            passes = runner.plan(subnets, inputs)
            return record(self._model, self._watched, passes, loss)

        apart = run(PassRunner(self._model, share=False))
        try:
            shared = run(self)
        except Exception as error:
            return f'passes that share fail: {type(error).__name__}: {error}'
        return find_difference(apart, shared, tolerance)


@dataclass(eq=False)
class Pass:
    """One pass of a plan: a context in which the model is its network.

    Attributes:
        index: Position of the pass among those that were planned.
        subnet: The subnet; ``None`` for the main network.
        is_done: Whether the pass ended, and not by an exception.

    Example:
        >>> (one,) = PassRunner(model).plan([None])
        >>> one.index, one.subnet
        (0, None)
    """

    index: int
    subnet: Optional[Subnet]
    _runner: PassRunner
    # Calls that earlier passes made and kept for this one.
    _calls: List[Call]
    # Number of first blocks that the next pass shares, if there is one.
    _num_common: Optional[int]
    is_done: bool = False
    _is_backpropagated: bool = False
    _is_inside: bool = False
    _num_made: int = 0

    def __post_init__(self) -> None:
        self._num_given = len(self._calls)
        # Number of calls that the next pass shares, once that is known.
        self._num_kept = 0 if self._num_common is None else None

    def __enter__(self) -> 'Pass':
        runner = self._runner
        if self._calls and runner._versions != self._read_versions():
            raise RuntimeError(
                'weights or gradients changed between passes that share '
                'blocks, whose gradients are not complete yet: change them '
                f'after the last pass, or {TURN_OFF}'
            )
        self._is_hooked = _is_hooked()
        updates = self.subnet is None or runner._update_running_stats
        preserved = () if updates else runner._modules
        with ExitStack() as stack:
            stack.enter_context(
                run_paths(
                    runner._backbone, runner.stages, self.subnet, preserved
                )
            )
            if self._calls or self._num_common is not None:
                for module in runner._parts:
                    forward = partial(self._call, module, module.forward)
                    stack.enter_context(replace_forward(module, forward))
                    # Other passes need what it would write into.
                    if getattr(module, 'inplace', None) is True:
                        stack.enter_context(
                            shadow_attribute(module, 'inplace', False)
                        )
            self._context = stack.pop_all()
        return self

    def backward(
        self, loss: Tensor, how: Backward = torch.autograd.backward
    ) -> None:
        """Backpropagate the pass's loss, all but what later passes share.

        Args:
            loss: The loss, a scalar.
            how: Backpropagates a loss, such as ``lambda loss:
                scaler.scale(loss).backward()``. If passes share, it gets
                the value of the loss alone and can scale it; the pass has no
                gradients of its own then, to be read, clipped or projected.

        Raises:
            RuntimeError: If ``how`` does not backpropagate, or changes
                gradients.
        """
        # Calls after the forward pass are those of gradient checkpointing.
        self._go_alone()
        self._is_backpropagated = True
        if how is torch.autograd.backward or not any(
            call.cuts for call in self._calls
        ):
            how(loss)
            return
        value = loss.detach().requires_grad_()
        before = self._read_versions()
        how(value)
        if value.grad is None or self._read_versions() != before:
            raise RuntimeError(
                'passes that share blocks have no gradients of their own: '
                'the function that backpropagates a loss can scale it and '
                'call its `backward`, but neither compute nor change '
                "gradients, nor take a step. For each pass's own, "
                f'{TURN_OFF}'
            )
        torch.autograd.backward(loss, value.grad)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        with self._context:
            if error is None:
                if not self._is_backpropagated:
                    raise RuntimeError(
                        'a pass ended without a backward pass: call '
                        '`one.backward(loss)` inside its context, in place '
                        'of `loss.backward()`'
                    )
                self._send_back(is_main=False)
        if error is None:
            # Gradient checkpointing repeats calls. Those of the main network
            # then update its statistics again, as they do without sharing.
            self._send_back(is_main=True)
            self._runner._versions = self._read_versions()
            self.is_done = True
        elif 'leaf Variable that requires grad' in str(error):
            raise RuntimeError(
                'an in-place operation overwrites the output of a block, or '
                'of a layer before one, which other passes need: make it '
                f'return a new tensor, or {TURN_OFF}'
            ) from error

    def _read_versions(self) -> List[Tuple[int, ...]]:
        """Read what changes with any weight or gradient."""
        return [
            (p._version,)
            if p.grad is None
            else (p._version, id(p.grad), p.grad._version)
            for p in self._runner._parameters
        ]

    def _send_back(self, is_main: bool) -> None:
        """Backpropagate calls of one kind that the next pass does not share.

        Calls of subnets, which are last, come first.
        """
        while (
            len(self._calls) > (self._num_kept or 0)
            and self._calls[-1].is_main is is_main
        ):
            self._calls.pop().backpropagate()

    def _go_alone(self) -> None:
        """Run every call from now on, and share none with the next pass."""
        self._num_given = self._num_made
        self._end_shared()

    def _end_shared(self) -> None:
        if self._num_kept is None:
            self._num_kept = self._num_made

    def _call(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Call a watched module, or take the output of an equal call."""
        if self._is_inside:
            return forward(*args, **kwargs)
        number = self._runner._blocks.get(module, -1)
        if number >= (self._num_common or 0):
            self._end_shared()
        self._is_inside = True
        try:
            return self._reuse_or_make(module, forward, args, kwargs)
        finally:
            self._is_inside = False
            if number == len(self._runner._blocks) - 1:
                self._end_shared()

    def _reuse_or_make(
        self,
        module: nn.Module,
        forward: Callable[..., Any],
        args: Tuple[Any, ...],
        kwargs: Dict[str, Any],
    ) -> Any:
        is_given = self._num_made < self._num_given
        if not is_given and self._num_kept is not None:
            return forward(*args, **kwargs)
        parts, is_main = self._runner._parts[module], self.subnet is None
        call = Call(module, parts, forward, args, kwargs, is_main)
        if is_given:
            earlier = self._calls[self._num_made]
            why_not = call.find_change(earlier)
        elif not torch.is_grad_enabled() or _is_hooked() > self._is_hooked:
            # Checkpointing around this call will repeat it, among others.
            why_not = f'{call.name} is in a part that is checkpointed'
        else:
            why_not = call.find_obstacle()
        if why_not is not None:
            self._runner.parted = why_not
            self._go_alone()
            return forward(*args, **kwargs)
        self._num_made += 1
        if is_given and earlier.is_intact():
            return earlier.given
        output = forward(*args, **kwargs)
        if not is_given:
            self._calls.append(call)
            output = call.cut(output)
        return output


def _collect_between(
    module: nn.Module, blocks: Dict[nn.Module, int], found: List[nn.Module]
) -> bool:
    """Find the largest modules that neither contain blocks nor are in one.

    Returns whether the module is a block or contains one.
    """
    if module in blocks:
        return True
    inner: List[nn.Module] = []
    holds = [
        _collect_between(child, blocks, inner) for child in module.children()
    ]
    # A list of modules is not called itself.
    is_list = type(module).forward is nn.Module.forward
    found += inner if any(holds) or is_list else [module]
    return any(holds)


def _is_hooked() -> bool:
    """Whether hooks on saved tensors are set, as by some checkpointing."""
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks('hooked'):
            return False
    except RuntimeError:
        return True
