"""How a subnet's batch was made from the main one."""

from dataclasses import dataclass
from typing import Sequence, Tuple

from torch import nn

Shape = Tuple[int, int]


@dataclass(frozen=True)
class Resizing:
    """How a subnet's batch was made from the main one.

    The whole batch was resized, the padding around its smaller images
    included, and then padded to the right and the bottom.

    Attributes:
        main_shape: (H, W) of the main batch.
        resized_shape: (H, W) that it was resized to.
        padded_shape: (H, W) of the subnet's batch.
        divisor: The sides of ``padded_shape`` are multiples of this.
        model: The model, whose ``data_preprocessor`` has the padding values.

    Example:
        >>> half = Resizing(
        ...     (64, 96), (32, 48), (32, 64), divisor=32, model=model)
        >>> half.scale
        (0.5, 0.5)
        >>> half.resize_shape((60, 80))
        (30, 40)
    """

    main_shape: Shape
    resized_shape: Shape
    padded_shape: Shape
    divisor: int
    model: nn.Module

    @property
    def scale(self) -> Tuple[float, float]:
        """New height over old, new width over old."""
        height, width = (
            new / old for new, old in zip(self.resized_shape, self.main_shape)
        )
        return height, width

    def resize_shape(self, shape: Sequence[int]) -> Shape:
        """Return the resized (H, W) of an image of the main batch."""
        height, width = (
            max(1, round(side * factor))
            for side, factor in zip(shape, self.scale)
        )
        return height, width

    def update_scale_factor(self, old: Sequence[float]) -> Tuple[float, float]:
        """Return (w, h) factors since the image file, given the old ones."""
        height, width = self.scale
        return old[0] * width, old[1] * height

    def get_pad_value(self, name: str, default: float) -> float:
        """Get the data preprocessor's padding value of one kind of data."""
        return getattr(self.model.data_preprocessor, name, default)
