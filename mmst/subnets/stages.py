"""Residual stages: what a block is, how its forward is replaced, who finds it.

The finders of the supported network families are in :mod:`.families`.
"""

import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterator,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from torch import nn
from torch.fx import GraphModule
from torch.jit import ScriptModule
from torch.nn.parallel import DataParallel, DistributedDataParallel

if TYPE_CHECKING:
    from .families.dense_readers import Reader

Forward = Callable[..., Any]
_MISSING = object()


class Replacement:
    """A function in place of a module's attribute, which copies do not get.

    A copy or a pickle of the module has the original. Otherwise it would run
    blocks of the module that it was copied from, and stay a subnet for ever.
    """

    def __init__(self, original: Any, function: Forward) -> None:
        self.original = original
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> Tuple[Any, ...]:
        return _return_original, (self.original,)


def _return_original(original: Any) -> Any:
    return original


@contextmanager
def shadow_attribute(
    module: nn.Module, name: str, value: Any
) -> Iterator[None]:
    """Give one instance another attribute inside a context.

    The attribute lies over the class's, or over a submodule of that name, so
    that the module tree, parameters and state dict stay as they are. The
    value must be no module, parameter or tensor.
    """
    attributes = vars(module)
    # An instance may have its own forward already, as set by MMEngine's
    # activation checkpointing.
    before = attributes.get(name, _MISSING)
    attributes[name] = value
    try:
        yield
    finally:
        if before is _MISSING:
            del attributes[name]
        else:
            attributes[name] = before


def replace_forward(
    module: nn.Module, forward: Forward
) -> ContextManager[None]:
    """Replace the forward of one instance inside a context."""
    replaced = Replacement(module.forward, forward)
    return shadow_attribute(module, 'forward', replaced)


def keep_input(x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the input: the shortcut of a block that keeps its shape."""
    return x


@dataclass(frozen=True, eq=False)
class Block:
    """A residual block ``y = branch(x) + shortcut(x)`` and its two paths.

    Attributes:
        module: The block.
        shortcut: Replaces ``module.forward`` when only the shortcut runs;
            ``None`` if the block has no shortcut, or none that can run alone.
        branch_only: Takes the module and returns a context in which its
            forward is the residual branch alone; ``None`` if not supported.

    Example:
        >>> Block(nn.Identity()).shortcut(3)  # the input stays as it is
        3
    """

    module: nn.Module
    shortcut: Optional[Forward] = keep_input
    branch_only: Optional[Callable[[nn.Module], ContextManager[None]]] = None


def unwrap_block(module: nn.Module) -> nn.Module:
    """Return a module without PyTorch's ``CheckpointWrapper``, if any."""
    inner = getattr(module, '_checkpoint_wrapped_module', module)
    return inner if isinstance(inner, nn.Module) else module


@dataclass(frozen=True, eq=False)
class Stage:
    """A run of residual blocks; all but the first keep the shape.

    Attributes:
        name: Its name inside the backbone, such as ``layer3``.
        blocks: The blocks, in the order in which they run.
        readers: Where blocks append channels instead of adding to their
            input, as in DenseNet: the layers that read these channels, which
            get fewer of them when a block is skipped.

    Example:
        >>> len(Stage('layer1', (Block(nn.Identity()), Block(nn.Identity()))))
        2
    """

    name: str
    blocks: Tuple[Block, ...]
    readers: 'Tuple[Reader, ...]' = ()

    def __len__(self) -> int:
        return len(self.blocks)


def check_branch(stage: Stage, block: Block) -> None:
    """Raise a ValueError for a block whose branch cannot run alone."""
    # Without a shortcut the block is its branch.
    if block.shortcut is not None and block.branch_only is None:
        raise ValueError(
            f"strategy 'raw' is not supported for "
            f'{type(unwrap_block(block.module)).__name__} in {stage.name}, '
            'whose stage finder sets no `branch_only`: set strategy to '
            "'ordered' or 'stochastic'"
        )


StageFinder = Callable[[nn.Module], Optional[Sequence[Stage]]]
_FINDERS: Dict[str, StageFinder] = {}


def register_stage_finder(family: str) -> Callable[[StageFinder], StageFinder]:
    """Register a function that finds the stages of one network family.

    The function gets a backbone and returns its stages, or ``None`` if it is
    not of the family. Functions registered later are asked first.

    Args:
        family: Name of the family, as shown in error messages.

    Example:
        >>> @register_stage_finder('Chain')
        ... def find_chain(backbone):
        ...     if isinstance(backbone, nn.Sequential):
        ...         return [Stage('chain', tuple(map(Block, backbone)))]
        >>> len(find_stages(nn.Sequential(nn.Identity(), nn.Tanh()))[0])
        2
    """

    def register(finder: StageFinder) -> StageFinder:
        _FINDERS[family] = finder
        return finder

    return register


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return a model without its wrapper for distributed training.

    Example:
        >>> unwrap_model(nn.DataParallel(model)) is model
        True
    """
    if isinstance(model, (DataParallel, DistributedDataParallel)):
        return model.module
    return model


def find_backbone(model: nn.Module) -> nn.Module:
    """Find the network in which :func:`find_stages` finds stages.

    Example:
        >>> find_backbone(nn.ModuleDict(dict(backbone=model))) is model
        True
    """
    return find_network(model)[0]


def find_stages(model: nn.Module) -> Tuple[Stage, ...]:
    """Find the residual stages of a model's backbone.

    A model that has a ``backbone`` has its stages there. Any other model is a
    known network itself, or has one somewhere among its submodules, such as
    the ``module`` of a weight average, or an ``encoder``.

    Args:
        model: A backbone, or any model around one.

    Raises:
        TypeError: If no registered family knows the backbone, or the model
            has several networks of which any could be meant.

    Example:
        >>> [(stage.name, len(stage)) for stage in find_stages(model)]
        [('layer1', 2), ('layer2', 2), ('layer3', 2), ('layer4', 2)]
        >>> average = torch.optim.swa_utils.AveragedModel(model)
        >>> len(find_stages(average))
        4
    """
    return find_network(model)[1]


def find_network(model: nn.Module) -> Tuple[nn.Module, Tuple[Stage, ...]]:
    """Find a model's backbone and its stages."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f'expected a network, a torch.nn.Module, not {model!r}'
        )
    model = unwrap_model(model)
    networks = list(_iter_networks(model, '', set()))
    if not networks:
        raise TypeError(
            f'no residual stages found in {_describe(model)}. Known '
            f'families: {"; ".join(_FINDERS)}. Use one of these in '
            '`model.backbone`, or add yours with '
            '`mmst.subnets.register_stage_finder`'
        )
    if len(networks) > 1:
        paths = ', '.join(f'`{path}`' for path, _, _ in networks)
        raise TypeError(
            f'{type(model).__name__} has several networks with residual '
            f'stages, {paths}: pass the one that is to have subnets. A model '
            'in a config may have only one'
        )
    _, backbone, stages = networks[0]
    _check_distinct(backbone, stages)
    for stage in stages:
        for reader in stage.readers:
            reader.check_end(model, backbone)
    return backbone, stages


# Packages' networks, whose parts are no networks of their own, but for those
# of TIMMBackbone and of torchvision's detectors.
_NETWORK = re.compile(
    r'timm\.models\.|torchvision\.models\.(?!detection)|'
    r'mm\w+\.models\.backbones\.(?!timm)'
)


def _iter_networks(
    module: nn.Module,
    path: str,
    seen: Set[nn.Module],
    is_backbone: bool = False,
) -> Iterator[Tuple[str, nn.Module, Tuple[Stage, ...]]]:
    """Iterate over the known networks in a model that are in no other one.

    Yields the name, the network and its stages.
    """
    if module in seen:
        return
    seen.add(module)
    # Some networks have a method or an option of that name.
    backbone = getattr(module, 'backbone', None)
    if not is_backbone and isinstance(backbone, nn.Module):
        inside = f'{path}backbone.'
        first = list(_iter_networks(backbone, inside, seen, True))
        yield from first
        for name, child in module.named_children() if first else ():
            if name.startswith('backbone'):
                yield from _iter_networks(child, f'{path}{name}.', seen, True)
        return
    for finder in reversed(list(_FINDERS.values())):
        stages = finder(module)
        if stages:
            yield path[:-1], module, tuple(stages)
            return
    if not _NETWORK.match(type(module).__module__):
        for name, child in module.named_children():
            yield from _iter_networks(child, f'{path}{name}.', seen)


def _describe(model: nn.Module) -> str:
    """Describe a model's backbone, also where its class's name misleads."""
    backbone = model
    for attribute in ('backbone', 'timm_model'):
        inner = getattr(backbone, attribute, None)
        backbone = inner if isinstance(inner, nn.Module) else backbone
    name = getattr(backbone, 'original_name', type(backbone).__name__)
    for kind, text in (
        (GraphModule, 'torch.fx GraphModule'),
        (ScriptModule, 'TorchScript'),
    ):
        if isinstance(backbone, kind):
            return (
                f'{name}, a {text} module: its blocks cannot be skipped, so '
                'pass the model as it was before'
            )
    return f'{name} of {type(backbone).__module__}'


def _check_distinct(backbone: nn.Module, stages: Sequence[Stage]) -> None:
    blocks = {b.module: s.name for s in stages for b in s.blocks}
    # A network lists a block that it has twice only once, unless asked.
    named = backbone.named_modules(remove_duplicate=False)
    listed = [block.module for stage in stages for block in stage.blocks]
    places = Counter(module for _, module in named) | Counter(listed)
    for module, stage in blocks.items():
        if places[module] > 1:
            raise TypeError(
                f'the network has the same {type(module).__name__} of '
                f'{stage} in two places, and it cannot be skipped in one of '
                'them alone: give each place its own block'
            )
