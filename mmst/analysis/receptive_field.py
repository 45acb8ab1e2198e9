"""Effective receptive field of a stage's central output (Fig. 6).

The gradient of the output at the centre of a stage with respect to the input
tells how much each pixel contributes to it (Luo et al., Understanding the
effective receptive field in deep convolutional neural networks, 2016).
"""

from math import ceil
from textwrap import fill
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from mmengine.runner import Runner
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchvision.transforms.functional import center_crop

from mmst.evaluation import get_validation_loader
from mmst.subnets import (
    Stage,
    find_backbone,
    find_stages,
    measure_cost,
    preserve_modes,
    resize_inputs,
    unwrap_model,
)

from .plots import LINES, choose_line_styles, place_legend_below
from .results import format_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

SHARES = (0.2, 0.3, 0.5, 0.99)
# Images per pass, so that large inputs fit into memory.
CHUNK = 8


class Field(NamedTuple):
    """The effective receptive field of one network on one input size.

    Attributes:
        run: Name of the trained network.
        network: 'main', or a subnet's depths.
        size: Side of the square input in pixels.
        contribution: Contribution of each pixel, (size, size).
    """

    run: str
    network: str
    size: int
    contribution: Array

    @property
    def sides(self) -> Dict[float, int]:
        """Sides in pixels, at most the image's, of squares with SHARES."""
        return {
            share: min(
                measure_square_side(self.contribution, share), self.size
            )
            for share in SHARES
        }


def choose_stage(model: nn.Module, name: Optional[str] = None) -> Stage:
    """Choose a stage by its name; the last one by default.

    Raises:
        ValueError: If the model has no stage of that name.

    Example:
        >>> choose_stage(model).name, choose_stage(model, 'layer1').name
        ('layer3', 'layer1')
    """
    stages = find_stages(model)
    names = [stage.name for stage in stages]
    if name is None:
        return stages[-1]
    if name not in names:
        raise ValueError(
            f"stage '{name}' is not one of the backbone's stages: {names}"
        )
    return stages[names.index(name)]


def measure_receptive_field(
    model: nn.Module, images: Tensor, stage: Stage
) -> Array:
    """Mean absolute gradient of a stage's central output, for each pixel.

    The output is summed over its channels, the gradient averaged over images
    and input channels. The model runs in evaluation mode, and as the subnet
    that is active.

    Args:
        model: A model or a backbone.
        images: Normalised images, (N, C, H, W), one at least.
        stage: One of the model's stages.

    Returns:
        Contributions of the pixels, (H, W).

    Raises:
        ValueError: If there is no image, or the images are too small.

    Example:
        >>> images = torch.rand(2, 3, 16, 16)
        >>> measure_receptive_field(model, images, choose_stage(model)).shape
        (16, 16)
    """
    if len(images) == 0:
        raise ValueError('no images to measure the receptive field on')
    backbone = find_backbone(model)
    measure_cost(model, images[:1])  # refuses images that are too small
    total: Any = 0
    outputs: List[Any] = []
    with preserve_modes(backbone), _record_output(stage, outputs):
        backbone.eval()
        for chunk in images.split(CHUNK):
            chunk = chunk.detach().clone().requires_grad_()
            with torch.enable_grad():
                backbone(chunk)
                centre = _take_centre(outputs.pop()).sum()
            (gradient,) = torch.autograd.grad(centre, chunk)
            total += gradient.abs().double().mean(1).sum(0)
    return (total / len(images)).cpu().numpy()


def _record_output(stage: Stage, outputs: List[Any]) -> RemovableHandle:
    """Record a stage's output in a list, after blocks that a subnet skips."""
    if stage.readers:
        # Concatenated features are complete where the next layer reads them.
        return stage.readers[-1].norm.register_forward_pre_hook(
            lambda module, args: outputs.append(args[0])
        )
    return stage.blocks[-1].module.register_forward_hook(
        lambda module, args, output: outputs.append(output)
    )


def _take_centre(output: Any) -> Tensor:
    """Take the features in the middle of a map, (N, C, H, W), or of tokens."""
    if isinstance(output, (tuple, list)):
        output = output[0]
    if output.ndim == 4:
        return output[:, :, output.shape[2] // 2, output.shape[3] // 2]
    # (N, L, C) of a square image: after class tokens, row by row.
    side = int(output.shape[1] ** 0.5)
    first = output.shape[1] - side**2
    return output[:, first + side * (side // 2) + side // 2]


def find_field_centre(contribution: Array) -> Tuple[int, int]:
    """Find the median pixel of the contribution along both axes, (y, x).

    A unit of a coarse map need not lie in the middle of the image: there is
    none in the middle of an even number of units.

    Example:
        >>> find_field_centre(np.eye(5))
        (2, 2)
    """
    y, x = (
        int(np.searchsorted(along, along[-1] / 2))
        for along in (contribution.sum(axis).cumsum() for axis in (1, 0))
    )
    return y, x


def measure_square_side(contribution: Array, share: float) -> int:
    """Side of the smallest centred square that holds a share of the total.

    In pixels, odd, for contributions of (H, W) pixels and a share between 0
    and 1. A square may reach past the border, where there is nothing to hold.

    Example:
        >>> measure_square_side(np.eye(5), 0.5)
        3
    """
    height, width = contribution.shape
    y, x = find_field_centre(contribution)
    distance = np.maximum.outer(
        abs(np.arange(height) - y), abs(np.arange(width) - x)
    )
    held = np.bincount(distance.ravel(), contribution.ravel()).cumsum()
    # Sums in another order differ in the last digits.
    return 1 + 2 * int(np.searchsorted(held, share * held[-1] * (1 - 1e-9)))


def load_input_images(runner: Runner, size: int, number: int) -> Tensor:
    """Load validation images as the model gets them, (N, C, size, size).

    At most this number. The shorter side is resized to the size in px, the
    longer one cropped.

    Example:
        >>> load_input_images(runner, size=8, number=4).shape
        torch.Size([4, 3, 8, 8])
    """
    model = unwrap_model(runner.model)
    images: List[Tensor] = []
    for data in get_validation_loader(runner):
        inputs = model.data_preprocessor(data, False)['inputs']
        images += center_crop(resize_inputs(inputs, size), [size, size])
        if len(images) >= number:
            break
    return torch.stack(images[:number])


def format_receptive_field_table(fields: Sequence[Field]) -> str:
    """Sides of the squares, in pixels, with a row for each field.

    Example:
        >>> field = Field('ST', 'main', 5, np.eye(5))
        >>> print(format_receptive_field_table([field]))
            network  input   20%   30%   50%   99%
        ST     main   5 px  1 px  3 px  3 px  5 px
    """
    return format_table(
        ['', 'network', 'input'] + [f'{share:.0%}' for share in SHARES],
        [
            [
                field.run,
                field.network,
                f'{field.size} px',
                *(f'{side} px' for side in field.sides.values()),
            ]
            for field in fields
        ],
    )


def draw_receptive_fields(fields: Sequence[Field]) -> 'Figure':
    """Heat maps, one panel per field, with squares in the run's colour.

    Panels follow one another in rows, those of a network in one of them.

    Example:
        >>> figure = draw_receptive_fields([Field('ST', 'main', 5, np.eye(5))])
        >>> figure.savefig(folder / 'fields.png')
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    num_sizes = len({field.size for field in fields})
    # Panels are largest on a screen that is 16 wide and 9 high.
    columns = min(
        range(num_sizes, len(fields) + 1, num_sizes),
        key=lambda columns: max(ceil(len(fields) / columns) / 9, columns / 16),
    )
    rows = ceil(len(fields) / columns)
    titles = [
        fill(f'{field.run}: {field.network}', 30)
        + f'\n{field.size} px; sides: '
        + f'{" / ".join(map(str, field.sides.values()))} px'
        for field in fields
    ]
    lines = 1 + max(title.count('\n') for title in titles)
    width = max(3.4, 5.2 / columns)
    figure = Figure(
        figsize=(width * columns + 1.2, (width + 0.18 * lines) * rows + 0.4),
        # Axes as square as the maps, without gaps between them.
        layout='compressed',
    )
    styles = choose_line_styles(dict.fromkeys(field.run for field in fields))
    for number, (field, title) in enumerate(zip(fields, titles), 1):
        axes = figure.add_subplot(rows, columns, number)
        axes.set(title=title, xlabel='x (px)', ylabel='y (px)')
        axes.title.set_fontsize('medium')
        picture = axes.imshow(
            field.contribution / field.contribution.max(),
            norm=LogNorm(1e-3, 1, clip=True),
            cmap='Greys',
        )
        y, x = find_field_centre(field.contribution)
        for share, line in zip(SHARES, LINES):
            # To the pixels' borders. The axes cut what is outside.
            side = measure_square_side(field.contribution, share)
            square = Rectangle(
                (x - side / 2, y - side / 2),
                side,
                side,
                fill=False,
                edgecolor=styles[field.run]['color'],
                linestyle=line,
                linewidth=1.5,
                # Visible where the map is dark.
                path_effects=[withStroke(linewidth=3.5, foreground='white')],
            )
            axes.add_patch(square)
    figure.colorbar(
        picture,
        ax=figure.axes,
        shrink=min(1, 1.6 / rows),
        aspect=30,
        label='contribution, relative to the largest',
    )
    place_legend_below(
        figure,
        [Line2D([], [], color='black', ls=line) for line in LINES],
        [f'{share:.0%} of the contribution' for share in SHARES],
    )
    return figure
