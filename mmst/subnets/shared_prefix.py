"""Run passes of a model, each prefix of blocks that they share once."""

from contextlib import ExitStack
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
        passes: For each pass, what runs of each block, see
            :func:`list_block_paths`.
        inputs: For each pass, what tells its input from the others'.

    Returns:
        list: For each input, in the order of their first passes, the indices
        of its passes in the order in which they run.

    Raises:
        ValueError: If there is not one input a pass.
    """
    if len(passes) != len(inputs):
        raise ValueError(
            f'{len(passes)} passes cannot have {len(inputs)} inputs: say for '
            'each pass which is its own'
        )
    groups: Dict[Hashable, List[int]] = {}
    for index, key in enumerate(inputs):
        groups.setdefault(key, []).append(index)
    # Of the names of paths, 'both' comes first.
    return [
        sorted(group, key=lambda index: passes[index])
        for group in groups.values()
    ]


def count_shared(one: Paths, other: Paths) -> int:
    """Number of blocks, from the first on, that two passes have in common."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other)) if a is not b), len(one)
    )


def list_block_paths(
    stages: Sequence[Stage], subnet: Optional[Subnet]
) -> Paths:
    """What runs of each block, one stage after the other.

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
    """Trains on several passes of a model, with little more than one's work.

    Passes on one input compute the same thing up to the first block in which
    they differ. Each distinct prefix of blocks is run forward once and
    backward once, and what is kept is what one pass keeps. Losses and
    gradients are those of passes apart. Where dropout or stochastic depth
    draw at random, passes share the draw in what they share.

    How: the output of a block that the next pass shares is cut off, as are
    those of the layers between blocks and before them. The next pass gets
    copies of these outputs in place of running the modules; hooks on the
    modules run each time. Gradients gather in the copies, and go on from
    there once no pass is left that shares the block.

    Nothing is shared where subnets update running statistics, which each of
    them does in passes apart, or of blocks inside a part of the network that
    is checkpointed as a whole.

    Args:
        model: The model, a backbone or anything around it, DDP included
            (inside of ``no_sync``). Its blocks must be the same ever after.
        share: Whether to share; if not, each pass is run by itself.
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
        """Run and backpropagate passes; gradients add up in the parameters.

        Args:
            subnets: The passes: ``None`` for the main network, which comes
                first if it is among them, and subnets.
            loss: Runs the model as it is then, and gives the loss of the
                subnet that it is told.
            inputs: For each pass, what tells its input from others: passes
                share where it is equal, and ``loss`` has to give the model
                one and the same input there. Default: the subnets' sizes,
                ``None`` for the main network.
            backward: Backpropagates a loss, scaled as the optimizer wants it.

        Returns:
            list: The losses, detached, in the order of ``subnets``.

        Raises:
            ValueError: If a subnet does not fit the model's stages, or the
                main network is not the first.
            RuntimeError: If something writes into an output that other
                passes are to read, or the model runs as a subnet already.
        """
        if None in subnets[1:]:
            raise ValueError(
                'the main network is to run once, before all subnets: give '
                'it as the first of the passes'
            )
        passes = [list_block_paths(self.stages, subnet) for subnet in subnets]
        if inputs is None:
            inputs = [subnet and subnet.size for subnet in subnets]
        if not self._share:
            inputs = range(len(subnets))
        losses: Dict[int, Tensor] = {}
        for group in order_passes(passes, inputs):
            calls = SharedCalls(self._blocks, self._between)
            for index, after in zip(group, [*group[1:], None]):
                following = None if after is None else passes[after]
                subnet, paths = subnets[index], passes[index]
                watched = calls.watched(subnet is None, paths, following)
                losses[index] = self._run_pass(
                    subnet, calls, watched, loss, backward
                )
        return [losses[index] for index in range(len(subnets))]

    def _run_pass(
        self,
        subnet: Optional[Subnet],
        calls: SharedCalls,
        watched: ContextManager[None],
        loss: Loss,
        backward: Callable[[Tensor], Any],
    ) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(claim(self._backbone))
            if subnet is not None:
                stack.enter_context(take_paths(self.stages, subnet))
            stack.enter_context(watched)
            updates = subnet is None or self._update_running_stats
            with preserve_buffers(None if updates else self._model):
                value = _computed(loss, subnet)
                calls.go_alone()
                backward(value)
                calls.backpropagate(is_main=False)
            # Gradient checkpointing makes calls again, and those of the main
            # network then update its statistics again, as they do apart.
            calls.backpropagate(is_main=True)
        return value.detach()


def _computed(loss: Loss, subnet: Optional[Subnet]) -> Tensor:
    """Compute a loss; say what is to be done if PyTorch refuses a copy."""
    try:
        return loss(subnet)
    except RuntimeError as error:
        if 'leaf Variable that requires grad' not in str(error):
            raise
        raise RuntimeError(
            'an in-place operation writes into the output of a block, or of '
            'a layer before one, which other passes are to read: make it '
            'give a new tensor, or share nothing (`share=False`, in '
            '`train_cfg` `share_prefixes=False`)'
        ) from error


def _collect_between(
    module: nn.Module, blocks: Dict[nn.Module, int], found: List[nn.Module]
) -> bool:
    """Find the largest modules that neither hold blocks nor lie in one.

    Returns:
        bool: Whether the module is a block or holds one.
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
