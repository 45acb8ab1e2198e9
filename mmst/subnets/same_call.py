"""Prove that a call of a module is one that was made before.

It is if the module is the same, with the modes, numbers, parameters, buffers
and hooks of that call, and gets the same tensors, or tensors of equal values
from the same graph.
"""

from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from .stages import Replacement

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


class Call:
    """A call of a module; once it is made, its graph ends at its output.

    ``parts`` are the attributes of the module and of all modules in it.

    Attributes:
        given: The output handed to callers, with copies of the cut tensors.
        cuts: Copy of each tensor of the true output. Later graphs end at the
            copy and leave their gradient there.
    """

    def __init__(
        self,
        module: nn.Module,
        parts: List[Attributes],
        forward: Callable[..., Any],
        args: Tuple[Any, ...],
        kwargs: Dict[str, Any],
        is_main: bool,
    ) -> None:
        self.is_main = is_main
        self.given: Any = None
        self.cuts: Dict[Tensor, Tensor] = {}
        self.name = type(module).__name__
        self._module = module
        self._parts = parts
        self._items, self._form = tree_flatten((args, kwargs))
        self._versions = _read_versions(self._items)
        self._state = _read_state(parts, forward)

    def find_change(self, earlier: 'Call') -> Optional[str]:
        """Find why this is not an earlier call; ``None`` if it is."""
        if self._module is not earlier._module:
            return f'{self.name} is called in place of {earlier.name}'
        if self._state is None or not _are_equal(self._state, earlier._state):
            return (
                f'{self.name} has other modes, numbers, weights or hooks '
                'than in the pass before'
            )
        if (
            self._form == earlier._form
            # If written into since, the values that the call had are gone.
            and earlier._versions == _read_versions(earlier._items)
            and all(map(_is_same, self._items, earlier._items))
        ):
            return None
        return f'{self.name} gets another input than in the pass before'

    def find_obstacle(self) -> Optional[str]:
        """Find why later passes cannot share this call; ``None`` if they can.

        Gradients of tensors that are no parameters, such as images, could not
        be passed on to those of each pass.
        """
        if self._state is None:
            return f'{self.name} has hooks inside, which run in every pass'
        leaves = [
            leaf
            for item in self._items
            if isinstance(item, Tensor)
            for leaf in _trace(item)[1]
            if not hasattr(leaf, _MARK)
        ]
        if not all(isinstance(leaf, nn.Parameter) for leaf in leaves):
            return f'{self.name} gets tensors whose gradients each pass needs'
        # Parameters in the graph.
        self._trained = leaves + [
            parameter
            for attributes in self._parts
            for parameter in attributes['_parameters'].values()
            if parameter is not None and parameter.requires_grad
        ]
        return None

    def cut(self, output: Any) -> Any:
        """Keep the output's graph; return the output cut off from it.

        Copies share the tensors' memory and require a gradient.
        """

        def copy_tensor(item: Any) -> Any:
            if not isinstance(item, Tensor) or item.grad_fn is None:
                return item
            if item not in self.cuts:
                self.cuts[item] = item.detach().requires_grad_()
                setattr(self.cuts[item], _MARK, True)
            return self.cuts[item]

        self.given = tree_map(copy_tensor, output)
        self._given_versions = self._read_given()
        return self.given

    def is_intact(self) -> bool:
        """Whether nothing was written into its output."""
        return self._given_versions == self._read_given()

    def _read_given(self) -> List[int]:
        return _read_versions(tree_flatten(self.given)[0])

    def backpropagate(self) -> None:
        """Backpropagate the gradient accumulated in the copies."""
        used = {
            true: copy.grad
            for true, copy in self.cuts.items()
            if copy.grad is not None
        }
        if not used:
            return
        # A loop may freeze weights for later passes; this one trained them.
        frozen = [p for p in self._trained if not p.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            torch.autograd.backward([*used], [*used.values()])
        except RuntimeError as error:
            if 'modified by an inplace operation' not in str(error):
                raise
            raise RuntimeError(
                f'weights or features of {self.name} were written into '
                'between passes that share it, before its gradients were '
                'complete: change weights after the last pass and features '
                f'out of place, or {TURN_OFF}'
            ) from error
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other) and _are_equal(one, other)
    return _describe(one) == _describe(other) and torch.equal(one, other)


def _describe(tensor: Tensor) -> Any:
    operations, leaves = _trace(tensor)
    kind = tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad
    return kind, operations, [*map(id, leaves)]


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


def _read_state(
    parts: List[Attributes], forward: Callable[..., Any]
) -> Optional[List[Any]]:
    """Read all that a call depends on besides its inputs, to compare it.

    These are modes, numbers and text of a module and of all modules in it,
    identities and versions of parameters and buffers, and instances' own
    forwards. Statistics that a norm layer updates in training are left out.
    ``None`` means that hooks inside have to run in every pass.
    """
    state: List[Any] = [
        torch.is_grad_enabled(),
        torch._C._is_any_autocast_enabled(),
        # Replacements of mmst follow from the paths, which are compared.
        None if isinstance(forward, Replacement) else forward,
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
        if is_inside and not isinstance(own, Replacement):
            state.append(own)
        tensors = [*attributes['_parameters'].values()]
        buffers = attributes['_buffers']
        if not (attributes['training'] and 'running_mean' in buffers):
            tensors += buffers.values()
        for tensor in tensors:
            if tensor is not None:
                state += (id(tensor), tensor._version, tensor.requires_grad)
    return state


def _read_versions(items: List[Any]) -> List[int]:
    return [item._version for item in items if isinstance(item, Tensor)]
