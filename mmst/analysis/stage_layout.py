"""Blocks per stage, and the spaces that the inter-stage rule proposes.

Networks have more blocks in their middle stages than at both ends (Fig. 7).
The inter-stage sampling rule (section 3.3.3 of the paper) draws the depth of
the stages that have many blocks, and keeps the first blocks of each: at least
m in every stage, or all where there are fewer. For ResNet-50 on ImageNet, with
(3, 4, 6, 3) blocks, m = 3 was the best (Table 2).
"""

import copy
from contextlib import suppress
from math import prod
from typing import (
    TYPE_CHECKING,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
from torch import Tensor, nn

from mmst.subnets import (
    BackboneCost,
    SamplingSpace,
    Subnet,
    SubnetSampler,
    find_stages,
    measure_cost,
    predict_iteration_cost,
)

from .plots import COLORS, place_legend_below
from .results import format_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pixels from which on costs are counted without computing anything. Below,
# networks run, which shows whether they are random, as MAE is.
LARGE = 512**2


class Proposal(NamedTuple):
    """A sampling space in both notations, and its cost.

    Attributes:
        min_depth: Blocks kept at least, in every stage or for each.
        space: Number of candidate depths of each stage.
        num_subnets: Number of different subnets.
        subnet_cost: Mean FLOPs of a subnet on the main network's input,
            relative to the main network's.
        iteration_cost: FLOPs of an ST iteration relative to plain training.
    """

    min_depth: Union[int, List[int]]
    space: Tuple[int, ...]
    num_subnets: int
    subnet_cost: float
    iteration_cost: float


class Layout(NamedTuple):
    """The stages of a backbone.

    Attributes:
        blocks: Number of blocks of each stage, by its name.
        size: (H, W) of the images that costs are for.
        num_subnets: K, the number of subnets per iteration for the costs.
        proposals: Sampling spaces.
    """

    blocks: Dict[str, int]
    size: Tuple[int, int]
    num_subnets: int
    proposals: List[Proposal]


def measure_stage_layout(
    backbone: nn.Module,
    image: Tensor,
    sampler: Optional[SubnetSampler] = None,
    min_depths: Sequence[int] = (1, 2, 3),
) -> Layout:
    """Count blocks and propose spaces.

    Args:
        backbone: A backbone whose stages can be found.
        image: One training image, (1, C, H, W).
        sampler: The sampler that has the number of subnets and their input
            sizes. Default: one subnet, on the main network's input.
        min_depths: Each m to propose; spaces with only one subnet are left
            out.

    Raises:
        TypeError: If the stages cannot be found.
        ValueError: If the image is too small, or a depth below 1.

    Example:
        >>> layout = measure_stage_layout(model, torch.zeros(1, 3, 16, 16))
        >>> layout.blocks
        {'layer1': 3, 'layer2': 3, 'layer3': 3}
    """
    blocks = {stage.name: len(stage) for stage in find_stages(backbone)}
    num_subnets = sampler.num_subnets if sampler else 1
    cost = None
    if image.shape[-2:].numel() > LARGE:
        # Unless an operation cannot do without values.
        with suppress(NotImplementedError, ValueError):
            shapes = copy.deepcopy(backbone).to('meta'), image.to('meta')
            cost = measure_cost(*shapes)
            backbone, image = shapes
    cost = cost or measure_cost(backbone, image)
    proposals = []
    for depth in min_depths:
        lowest = [min(depth, count) for count in blocks.values()]
        proposed = SubnetSampler(num_subnets, min_depth=lowest).fit(backbone)
        if sampler:
            proposed.sizes = sampler.sizes
            proposed.num_sizes = sampler.num_sizes
        space = proposed.space
        if prod(space.candidates) == 1:
            continue
        proposals.append(
            Proposal(
                depth if min(lowest) == depth else lowest,
                space.candidates,
                prod(space.candidates),
                _average_cost(cost, space),
                predict_iteration_cost(backbone, image, proposed),
            )
        )
    height, width = image.shape[-2:]
    return Layout(blocks, (height, width), num_subnets, proposals)


def _average_cost(cost: BackboneCost, space: SamplingSpace) -> float:
    """Compute the mean FLOPs of a space's subnets, relative to the whole.

    Stages are drawn independently and do not change each other's FLOPs, so
    means are taken stage by stage.
    """
    whole = tuple(space.num_blocks)
    mean = float(cost.total)
    for stage, depths in enumerate(space.depths):
        for depth in depths:
            one = (*whole[:stage], depth, *whole[stage + 1 :])
            saved = cost.total - cost.count(Subnet.ordered(one, whole))
            mean -= saved / len(depths)
    return mean / cost.total


def format_layout_table(name: str, layout: Layout) -> str:
    """Format a network's blocks, and a table of its proposed spaces.

    Example:
        >>> proposal = Proposal(2, (2, 2), 4, 0.75, 1.75)
        >>> blocks = {'layer1': 3, 'layer2': 3}
        >>> layout = Layout(blocks, (32, 32), 1, [proposal])
        >>> format_layout_table('net', layout).splitlines()[0]
        'net: layer1 3, layer2 3; 32 x 32 px'
    """
    height, width = layout.size
    blocks = ', '.join(
        f'{stage} {count}' for stage, count in layout.blocks.items()
    )
    head = ['min_depth', 'space', 'subnets', 'mean cost of a subnet']
    head.append(f'of an iteration, K = {layout.num_subnets}')
    return f'{name}: {blocks}; {height} x {width} px\n' + format_table(
        head,
        [
            [
                str(p.min_depth),
                str(list(p.space)),
                str(p.num_subnets),
                f'{p.subnet_cost:.3f}',
                f'{p.iteration_cost:.2f}',
            ]
            for p in layout.proposals
        ],
    )


def draw_layouts(layouts: Dict[str, Layout]) -> 'Figure':
    """Draw a bar for each stage of each network, by its name.

    Example:
        >>> layout = measure_stage_layout(model, torch.zeros(1, 3, 16, 16))
        >>> draw_layouts({'ResNet-20': layout}).savefig(folder / 'layout.png')
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    num_stages = max(len(layout.blocks) for layout in layouts.values())
    width = 0.85 / len(layouts)
    figure = Figure(
        figsize=(max(6.4, 0.3 * num_stages * len(layouts)), 4.4),
        layout='constrained',
    )
    axes = figure.subplots()
    for k, (name, layout) in enumerate(layouts.items()):
        counts = list(layout.blocks.values())
        bars = axes.bar(
            np.arange(len(counts)) + 1 + width * (k - (len(layouts) - 1) / 2),
            counts,
            width,
            label=name,
            color=COLORS[k % len(COLORS)],
            # Beyond the colours there are, and for pictures in grey.
            hatch=('', '//', '..', 'xx', '\\\\')[k % 5],
            edgecolor='white',
        )
        axes.bar_label(bars, fontsize='small')
    axes.set_xticks(range(1, num_stages + 1))
    axes.set_xlabel('stage')
    axes.set_ylabel('number of residual blocks')
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.1)
    place_legend_below(figure, *axes.get_legend_handles_labels())
    return figure
