"""Reports of subnets: space and cost before training, draws during it."""

import math
from typing import Dict, Optional, Sequence

from mmengine.logging import MessageHub
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend
from torch import Tensor, nn

from mmst.models import STClsHead
from mmst.subnets import (
    Stage,
    Subnet,
    SubnetSampler,
    get_shorter_side,
    measure_cost,
    predict_iteration_cost,
    unwrap_model,
)


def describe_space(
    model: nn.Module,
    image: Tensor,
    sampler: SubnetSampler,
    why_apart: Optional[str] = None,
) -> str:
    """Describe the stages, their candidate depths, and an iteration's cost.

    The image, (1, C, H, W), has the main batch's size.
    """
    stages, space, sizes = sampler.stages, sampler.space, sampler.sizes
    cost = measure_cost(model, image)
    side = get_shorter_side(image, None)
    if cost.is_random:
        why_apart = why_apart or 'the backbone is random even in evaluation'
    width = 2 + max(len(stage.name) for stage in stages)
    sandwich = ', one of them the smallest' if sampler.sandwich else ''
    lines = [
        f'Stimulative training: {sampler.num_subnets} subnet(s) per '
        f'iteration{sandwich}, {space.strategy} sampling',
        f'{"stage":<{width}}{"blocks":>8}{"FLOPs":>9}  depths drawn from',
    ]
    for stage, flops, depths in zip(stages, cost.blocks, space.depths):
        drawn = ', '.join(map(str, depths))
        if space.strategy == 'raw':
            drawn = 'branch or shortcut of each block'
        share = sum(flops) / cost.total
        lines.append(
            f'{stage.name:<{width}}{len(stage):>8}{share:>9.1%}  {drawn}'
        )
    lines.append(
        f'input sizes drawn from: {sizes} (main input: {side} px, '
        f'{cost.total / 1e9:.3g} GFLOPs in the backbone)'
    )
    largest = max(
        get_shorter_side(image, size) for size in sizes.values or [None]
    )
    if largest > side:
        lines.append(
            f'subnets of more than {side} px, up to {largest}, get enlarged '
            'images, which show no more than the main input'
        )
    lines.append(
        f'each pass runs by itself: {why_apart}'
        if why_apart
        else 'passes on one input share the blocks that they have in common'
    )
    ratio = predict_iteration_cost(model, image, sampler, share=not why_apart)
    lines.append(
        f'predicted cost of an iteration: {ratio:.2f} times plain training'
    )
    if sampler.every > 1:
        lines.append(
            f'subnets in one of {sampler.every} iterations: '
            f'{1 + (ratio - 1) / sampler.every:.2f} times on average'
        )
    return '\n'.join(lines)


def add_subnet_scalars(
    runner: Runner, scalars: Dict[str, float], step: int
) -> None:
    """Write scalars to every backend: TensorBoard, WandB, local files.

    Local files are separate, because the toolboxes' own readers, such as
    ``analyze_logs.py``, take every line of ``scalars.json`` for one of
    training or validation. ``iter`` is among the scalars, since some backends
    make a row of each call and ignore the step.
    """
    scalars = dict(scalars, iter=runner.iter + 1)
    for backend in runner.visualizer._vis_backends.values():
        if isinstance(backend, LocalVisBackend):
            backend = LocalVisBackend(
                backend._save_dir, scalar_save_file='subnets.json'
            )
        backend.add_scalars(scalars, step=step)


def forget_scalars(num_subnets: int) -> None:
    """Drop losses of subnets beyond K, which a checkpoint may bring along."""
    scalars = MessageHub.get_current_instance().log_scalars
    while scalars.pop(f'train/subnet{num_subnets}_loss', None) is not None:
        num_subnets += 1


def report_subnets(
    runner: Runner, stages: Sequence[Stage], subnets: Sequence[Subnet]
) -> None:
    """Report which subnets an iteration trained, in the log and as scalars."""
    now = runner.iter + 1
    drawn = '; '.join(map(str, subnets))
    runner.logger.info(f'Subnets of iteration {now}: {drawn}')
    scalars: Dict[str, float] = {}
    for k, subnet in enumerate(subnets):
        if subnet.size is not None:
            scalars[f'subnet{k}_size'] = subnet.size
        for stage, depth in zip(stages, subnet.depths):
            scalars[f'subnet{k}_depth_{stage.name}'] = depth
    add_subnet_scalars(runner, scalars, step=now)


def warn_of_guessing(runner: Runner, num_subnets: int) -> None:
    """Warn if the main network guesses, and its subnets agree with it.

    The same answer to every image is the easiest to agree on. Subnets that
    learn it from the start can keep a classifier there.
    """
    head = getattr(unwrap_model(runner.model), 'head', None)
    num_classes = getattr(head, 'num_classes', None)
    if not isinstance(head, STClsHead) or not num_classes:
        return
    scalars = MessageHub.get_current_instance().log_scalars
    names = ['main_loss', *(f'subnet{k}_loss' for k in range(num_subnets))]
    if any(f'train/{name}' not in scalars for name in names):
        return
    # Over the last 50 iterations.
    main, *losses = (scalars[f'train/{name}'].mean(50) for name in names)
    mean = sum(losses) / len(losses)
    guess = math.log(num_classes)
    if main > 0.98 * guess and mean < 0.01 * guess:
        runner.logger.warning(
            f'After {runner.iter + 1} iterations the main network still '
            f'guesses (its loss is {main:.3g}, that of guessing among '
            f'{num_classes} classes {guess:.3g}), and its subnets agree with '
            f'it (losses of {mean:.2g}): they may keep it there. If it '
            'stays so, let them begin later, with begin=0.2 in '
            'SubnetSamplerHook (a fraction of the training), or train fewer '
            f'than {num_subnets}'
        )
