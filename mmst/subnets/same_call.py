"""Prove that a call of a module is one that was made before.

It is if the module is the same, with the modes, numbers, parameters, buffers
and hooks of that call, and gets the same tensors, or tensors of equal values
from the same graph.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from .stages import ReplacedForward

#: How to do without sharing, for messages.
TURN_OFF = (
    'turn sharing off (share=False in PassRunner; in a config, '
    'share_prefixes=False in train_cfg)'
)
# Attribute of the tensors at which graphs are cut.
_MARK = '_is_mmst_cut'
# Attributes of these types belong to a module's state.
_PLAIN = frozenset((bool, int, float, str, tuple, type(None)))
_HOOKS = (
    '_backward_hooks',
    '_backward_pre_hooks',
    '_forward_hooks',
    '_forward_pre_hooks',
)

Attributes = Dict[str, Any]


class Inputs:
    """Arguments of a call, to be compared with those of a later one.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    def __init__(self, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        self._items, self._form = tree_flatten((args, kwargs))
        self._versions = _read_versions(self._items)

    def equal(self, earlier: 'Inputs') -> bool:
        """Whether the arguments are those of an earlier call.

        Tensors are the same objects, or have equal values and graphs.
        """
        return (
            self._form == earlier._form
            # If written into since, the values that the call had are gone.
            and earlier._versions == _read_versions(earlier._items)
            and all(map(_is_same, self._items, earlier._items))
        )

    def list_leaves(self) -> List[Tensor]:
        """List the leaves of the tensors' graphs, without cut ones."""
        return [
            leaf
            for item in self._items
            if isinstance(item, Tensor)
            for leaf in _trace(item)[1]
            if not hasattr(leaf, _MARK)
        ]


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other) and _are_equal(one, other)
    if (one.shape, one.dtype, one.device, one.requires_grad) != (
        other.shape,
        other.dtype,
        other.device,
        other.requires_grad,
    ):
        return False
    operations, leaves = _trace(one)
    other_operations, other_leaves = _trace(other)
    return (
        operations == other_operations
        and [*map(id, leaves)] == [*map(id, other_leaves)]
        and torch.equal(one, other)
    )


def _are_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # of a class of the user's
        return False


def _trace(tensor: Tensor) -> Tuple[List[str], List[Tensor]]:
    """List operations and leaves of a tensor's graph, in a fixed order."""
    if tensor.grad_fn is None:
        return [], [tensor] if tensor.requires_grad else []
    operations: List[str] = []
    leaves: List[Tensor] = []
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        operations.append(node.name())
        if hasattr(node, 'variable'):
            leaves.append(node.variable)
        waiting += [n for n, _ in node.next_functions if n is not None]
    return operations, leaves


def read_state(
    parts: List[Attributes], forward: Callable[..., Any]
) -> Optional[List[Any]]:
    """Read all that a call depends on besides its inputs, to compare it.

    These are modes, numbers and text of a module and of all modules in it,
    identities and versions of parameters and buffers, and instances' own
    forwards. Statistics that a norm layer updates in training are left out.

    Args:
        parts: Attributes of the module and of all modules in it.
        forward: Forward of the module.

    Returns:
        list: ``None`` if hooks inside would have to run in every pass.
    """
    state: List[Any] = [
        torch.is_grad_enabled(),
        torch._C._is_any_autocast_enabled(),
        # Replacements of mmst follow from the paths, which are compared.
        None if isinstance(forward, ReplacedForward) else forward,
    ]
    for attributes in parts:
        is_inside = attributes is not parts[0]
        # Forward hooks of the module itself run for a shared call, too.
        for name in _HOOKS if is_inside else _HOOKS[:2]:
            if attributes.get(name):
                return None
        state += [
            value for value in attributes.values() if type(value) in _PLAIN
        ]
        state += map(id, attributes['_modules'].values())
        own = attributes.get('forward')
        if is_inside and not isinstance(own, ReplacedForward):
            state.append(own)
        tensors = [*attributes['_parameters'].values()]
        buffers = attributes['_buffers']
        if not (attributes['training'] and 'running_mean' in buffers):
            tensors += buffers.values()
        for tensor in tensors:
            if tensor is not None:
                state += (id(tensor), tensor._version, tensor.requires_grad)
    return state


def list_trained(
    parts: List[Attributes], inputs: Inputs
) -> Optional[List[Tensor]]:
    """List the parameters in the graph of a call.

    Args:
        parts: Attributes of the called module and of all modules in it.
        inputs: Arguments of the call.

    Returns:
        list: ``None`` if gradients would also go to other tensors, such as
        images that require one: a shared call could not pass them on to
        those of each pass.
    """
    leaves = inputs.list_leaves()
    if not all(isinstance(leaf, nn.Parameter) for leaf in leaves):
        return None
    return leaves + [
        parameter
        for attributes in parts
        for parameter in attributes['_parameters'].values()
        if parameter is not None and parameter.requires_grad
    ]


@dataclass(eq=False)
class Call:
    """A call whose graph is kept, cut off from what follows.

    Attributes:
        module: The module that was called.
        is_main: Whether the main network called it.
        state: State of the module, see :func:`read_state`.
        inputs: Arguments of the call.
        given: The output handed to callers, with detached copies of the cut
            tensors.
        cuts: Tensors of the true output, each with its copy. Later graphs
            end at the copy and leave their gradient there.
        trained: Parameters in the call's graph.
    """

    module: nn.Module
    is_main: bool
    state: Any
    inputs: Inputs
    given: Any
    cuts: List[Tuple[Tensor, Tensor]]
    trained: List[Tensor]

    def __post_init__(self) -> None:
        self._versions = _read_versions(tree_flatten(self.given)[0])

    def find_change(
        self, module: nn.Module, state: Any, inputs: Inputs
    ) -> Optional[str]:
        """Find why a later call is not this one; ``None`` if it is."""
        name = type(module).__name__
        if module is not self.module:
            return f'{name} is called in place of {type(self.module).__name__}'
        if state is None or not _are_equal(state, self.state):
            return (
                f'{name} has other modes, numbers, weights or hooks than in '
                'the pass before'
            )
        if not inputs.equal(self.inputs):
            return f'{name} gets another input than in the pass before'
        return None

    def is_intact(self) -> bool:
        """Whether nothing was written into its output."""
        return self._versions == _read_versions(tree_flatten(self.given)[0])

    def backpropagate(self) -> None:
        """Backpropagate the gradient accumulated in the copies.

        Raises:
            RuntimeError: If weights or features changed in the meantime.
        """
        used = [
            (true, copy.grad)
            for true, copy in self.cuts
            if copy.grad is not None
        ]
        if not used:
            return
        tensors, gradients = zip(*used)
        # A loop may freeze weights for later passes; this one trained them.
        frozen = [p for p in self.trained if not p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            torch.autograd.backward(tensors, gradients)
        except RuntimeError as error:
            if 'modified by an inplace operation' not in str(error):
                raise
            raise RuntimeError(
                f'weights or features of {type(self.module).__name__} were '
                'written into between passes that share it, before its '
                'gradients were complete: change weights after the last '
                f'pass and features out of place, or {TURN_OFF}'
            ) from error
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)


def cut_output(output: Any) -> Tuple[Any, List[Tuple[Tensor, Tensor]]]:
    """Replace all tensors that have a graph by copies.

    Copies share the tensors' memory, require a gradient and have no graph.

    Returns:
        The output with copies, and each tensor with its copy.
    """
    cuts: Dict[int, Tuple[Tensor, Tensor]] = {}

    def copy_tensor(item: Any) -> Any:
        if not isinstance(item, Tensor) or item.grad_fn is None:
            return item
        if id(item) not in cuts:
            copy = item.detach().requires_grad_()
            setattr(copy, _MARK, True)
            cuts[id(item)] = item, copy
        return cuts[id(item)][1]

    return tree_map(copy_tensor, output), list(cuts.values())


def _read_versions(items: List[Any]) -> List[int]:
    return [item._version for item in items if isinstance(item, Tensor)]
