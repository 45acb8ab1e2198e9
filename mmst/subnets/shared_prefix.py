"""Run several passes of a model, each shared prefix of blocks once."""

from contextlib import ExitStack
from functools import partial
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Hashable,
    List,
    Optional,
    Sequence,
    Tuple,
)

import torch
from torch import Tensor, nn

from .activate import claim, take_paths
from .compile_blocks import check_not_compiled
from .preserve_buffers import preserve_buffers
from .shared_calls import SharedCalls
from .stages import Stage, find_backbone, find_stages
from .subnet import Path, Subnet

Paths = Tuple[Path, ...]
Loss = Callable[[Optional[Subnet]], Tensor]


def order_passes(
    passes: Sequence[Paths], inputs: Sequence[Hashable]
) -> List[List[int]]:
    """Order passes so that each distinct prefix of blocks runs once.

    Passes with a long common prefix become neighbours. The main network,
    which runs every block, is the first on its input.

    Args:
        passes: For each pass, the path through each block, see
            :func:`list_block_paths`.
        inputs: For each pass, a key that is equal for equal inputs.

    Returns:
        list: For each input, in the order of their first passes, the indices
        of its passes in the order in which they run.

    Raises:
        ValueError: If the numbers of passes and inputs differ.
    """
    if len(passes) != len(inputs):
        raise ValueError(
            f'got {len(passes)} passes but {len(inputs)} inputs: give one '
            'input for each pass'
        )
    groups: Dict[Hashable, List[int]] = {}
    for index, key in enumerate(inputs):
        groups.setdefault(key, []).append(index)
    # By name, Path.BOTH comes first, and so does the main network.
    return [
        sorted(group, key=lambda index: passes[index])
        for group in groups.values()
    ]


def count_shared(one: Paths, other: Paths) -> int:
    """Count the first blocks that two passes have in common."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other)) if a is not b), len(one)
    )


def list_block_paths(
    stages: Sequence[Stage], subnet: Optional[Subnet]
) -> Paths:
    """List the path through each block, stage after stage.

    Args:
        stages: The stages of a network.
        subnet: One of its subnets; ``None`` for the main network.
    """
    if subnet is None:
        return (Path.BOTH,) * sum(map(len, stages))
    return tuple(
        # A block without a shortcut is its residual branch already.
        Path.BOTH if path is Path.BRANCH and block.shortcut is None else path
        for stage, paths in zip(stages, subnet.paths)
        for block, path in zip(stage.blocks, paths)
    )


class PassRunner:
    """Trains several passes of a model and runs what they share once.

    Passes on one input compute the same up to the first block in which they
    differ. Each distinct prefix of blocks runs forward once and backward
    once, and memory stays that of one pass. Losses and gradients equal those
    of separate passes; dropout and stochastic depth are drawn once for what
    is shared.

    How: the outputs of blocks that the next pass shares are cut from the
    graph, as are those of the layers before and between these blocks. The
    next pass gets copies of the outputs instead of running the modules; the
    modules' hooks still run. Gradients accumulate in the copies, and are
    backpropagated further once no later pass shares the block.

    Nothing is shared where subnets update running statistics, since each has
    to update them, and in parts of the network that are checkpointed as a
    whole.

    Args:
        model: The model, a backbone or anything around it, DDP included
            (inside ``no_sync``). Its blocks must not be replaced later.
        share: Whether passes share; if not, each runs by itself.
        update_running_stats: See :func:`mmst.subnets.activate`.

    Attributes:
        stages: The stages of the model's backbone.

    Raises:
        TypeError: If the model's stages cannot be found.

    Example:
        >>> runner = PassRunner(model)
        >>> logits = []
        >>> def loss(subnet):
        ...     logits.append(model(images))
        ...     if subnet is None:
        ...         return cross_entropy(logits[0], labels)
        ...     return kl_minus(logits[-1], logits[0])
        >>> losses = runner.run([None, *subnets], loss)
        >>> optimizer.step()
    """

    def __init__(
        self,
        model: nn.Module,
        share: bool = True,
        update_running_stats: bool = False,
    ) -> None:
        check_not_compiled(model)
        self.stages = find_stages(model)
        self._share = share and not update_running_stats
        self._model = model
        self._update_running_stats = update_running_stats
        blocks = [block for stage in self.stages for block in stage.blocks]
        self._blocks = {block.module: i for i, block in enumerate(blocks)}
        self._between: List[nn.Module] = []
        self._backbone = find_backbone(model)
        _collect_between(self._backbone, self._blocks, self._between)

    def run(
        self,
        subnets: Sequence[Optional[Subnet]],
        loss: Loss,
        inputs: Optional[Sequence[Hashable]] = None,
        backward: Callable[[Tensor], Any] = torch.autograd.backward,
    ) -> List[Tensor]:
        """Run and backpropagate passes; parameters accumulate gradients.

        Args:
            subnets: The passes: subnets, and ``None`` for the main network,
                which has to come first.
            loss: Called with each of these, to run the model, which then is
                that subnet, and return the loss.
            inputs: For each pass, a key of its input. Passes with equal keys
                share, so ``loss`` has to run them on the same input. Default:
                the subnets' sizes, ``None`` for the main network.
            backward: Backpropagates a loss.

        Returns:
            list: The losses, detached, in the order of ``subnets``.

        Raises:
            ValueError: If a subnet does not fit the model's stages, or the
                main network is not the first.
            RuntimeError: If an in-place operation overwrites an output that
                other passes need, or the model already runs as a subnet.
        """
        if None in subnets[1:]:
            raise ValueError(
                'the main network (None) runs once, before all subnets: make '
                'it the first of the passes'
            )
        passes = [list_block_paths(self.stages, subnet) for subnet in subnets]
        if inputs is None:
            inputs = [subnet and subnet.size for subnet in subnets]
        if not self._share:
            inputs = range(len(subnets))
        losses: Dict[int, Tensor] = {}
        modules = [*self._model.modules()]
        run = partial(self._run_pass, modules, loss, backward)
        for group in order_passes(passes, inputs):
            calls = SharedCalls(self._blocks, self._between)
            for index, after in zip(group, [*group[1:], None]):
                following = None if after is None else passes[after]
                subnet, paths = subnets[index], passes[index]
                watched = calls.watch(subnet is None, paths, following)
                losses[index] = run(subnet, calls, watched)
        return [losses[index] for index in range(len(subnets))]

    def _run_pass(
        self,
        modules: Sequence[nn.Module],
        loss: Loss,
        backward: Callable[[Tensor], Any],
        subnet: Optional[Subnet],
        calls: SharedCalls,
        watched: ContextManager[None],
    ) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(claim(self._backbone))
            if subnet is not None:
                stack.enter_context(take_paths(self.stages, subnet))
            stack.enter_context(watched)
            updates = subnet is None or self._update_running_stats
            with preserve_buffers([] if updates else modules):
                value = _compute_loss(loss, subnet)
                calls.go_alone()
                backward(value)
                calls.backpropagate(is_main=False)
            # Gradient checkpointing repeats calls. Those of the main network
            # then update its statistics again, as they do without sharing.
            calls.backpropagate(is_main=True)
        return value.detach()


def _compute_loss(loss: Loss, subnet: Optional[Subnet]) -> Tensor:
    """Compute a loss; explain PyTorch's error about in-place operations."""
    try:
        return loss(subnet)
    except RuntimeError as error:
        if 'leaf Variable that requires grad' not in str(error):
            raise
        raise RuntimeError(
            'an in-place operation overwrites the output of a block, or of a '
            'layer before one, which other passes need: make it return a new '
            'tensor, or turn sharing off (share=False; in a config, '
            'share_prefixes=False in train_cfg)'
        ) from error


def _collect_between(
    module: nn.Module, blocks: Dict[nn.Module, int], found: List[nn.Module]
) -> bool:
    """Find the largest modules that neither contain blocks nor are in one.

    Returns:
        bool: Whether the module is a block or contains one.
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
