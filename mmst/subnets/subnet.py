"""The description of a subnet: which blocks run, and its input size."""

from dataclasses import dataclass
from enum import Enum
from typing import Optional, Sequence, Tuple, Union


class Path(str, Enum):
    """The part of a residual block ``y = branch(x) + shortcut(x)`` that runs.

    Example:
        >>> Path('shortcut') is Path.SHORTCUT
        True
    """

    BOTH = 'both'
    SHORTCUT = 'shortcut'
    BRANCH = 'branch'


@dataclass(frozen=True)
class Subnet:
    """One subnet of a residual network.

    Attributes:
        paths: The path through each block of each stage.
        size: Shorter side of the subnet's input: an ``int`` in pixels, a
            ``float`` as a fraction of the main input's shorter side, or
            ``None`` for the main input as it is (Eq. 7 and 8).

    Example:
        >>> print(Subnet.ordered((3, 3, 4, 3), (3, 4, 6, 3), size=160))
        3-3-4-3 at 160 px
    """

    paths: Tuple[Tuple[Path, ...], ...]
    size: Optional[Union[int, float]] = None

    @classmethod
    def ordered(
        cls,
        depths: Sequence[int],
        num_blocks: Sequence[int],
        size: Optional[Union[int, float]] = None,
    ) -> 'Subnet':
        """Make the subnet that keeps the first blocks of each stage.

        Args:
            depths: Number of blocks to keep in each stage.
            num_blocks: Number of blocks of each stage.
            size: Input size, see :class:`Subnet`.

        Raises:
            ValueError: If the depths do not fit the stages.
        """
        if len(depths) != len(num_blocks):
            raise ValueError(
                f'depths {list(depths)} has {len(depths)} entries, but the '
                f'network has {len(num_blocks)} stages of '
                f'{list(num_blocks)} blocks: set one depth per stage'
            )
        for stage, (depth, full) in enumerate(zip(depths, num_blocks), 1):
            if not 1 <= depth <= full:
                raise ValueError(
                    f'depth {depth} of stage {stage} in depths '
                    f'{list(depths)} is not between 1 and {full}, the '
                    'number of blocks in that stage'
                )
        return cls(
            tuple(
                (Path.BOTH,) * depth + (Path.SHORTCUT,) * (full - depth)
                for depth, full in zip(depths, num_blocks)
            ),
            size,
        )

    @property
    def depths(self) -> Tuple[int, ...]:
        """Number of blocks of each stage whose residual branch runs."""
        return tuple(
            sum(path is not Path.SHORTCUT for path in stage)
            for stage in self.paths
        )

    @property
    def is_ordered(self) -> bool:
        """Whether each stage keeps its first blocks whole, and no others."""
        return all(
            path is (Path.BOTH if index < depth else Path.SHORTCUT)
            for stage, depth in zip(self.paths, self.depths)
            for index, path in enumerate(stage)
        )

    def __str__(self) -> str:
        text = '-'.join(map(str, self.depths))
        if not self.is_ordered:
            mark = {Path.BOTH: '+', Path.SHORTCUT: '.', Path.BRANCH: '|'}
            stages = (''.join(mark[p] for p in paths) for paths in self.paths)
            text += f' ({" ".join(stages)})'
        if isinstance(self.size, float):
            text += f' at {self.size:.3f} of the input'
        elif self.size is not None:
            text += f' at {self.size} px'
        return text
