"""The sampling space: the depths that subnets can have."""

from itertools import repeat
from math import prod
from random import Random
from typing import Optional, Sequence, Tuple, Union

from .options import check_count, check_counts
from .subnet import Path, Subnet

STRATEGIES = ('ordered', 'stochastic', 'raw')


class SamplingSpace:
    """The depths that subnets may have, stage by stage (Table 2).

    Each stage's depth is drawn uniformly and independently of the others.
    *Ordered* sampling then keeps the first blocks of the stage; *stochastic*
    sampling keeps the first block and a random choice among the others;
    *raw* sampling, the unraveled view, takes the residual branch alone or the
    shortcut alone of every block, each with probability one half, for any
    depths of the stage (Fig. 3).

    Args:
        num_blocks: Number of blocks of each stage, such as (3, 4, 6, 3).
        candidates: As in the paper: for each stage, the number of candidate
            depths, counted down from the full depth. ``[1, 2, 4, 1]`` on
            (3, 4, 6, 3) gives {3}, {4, 3}, {6, 5, 4, 3}, {3}.
        min_depth: The same for any network: the minimum number of blocks to
            keep, one number or one per stage. ``min_depth=3`` on (3, 4, 6, 3)
            is the space above. Default: 1, all ordered subnets.
        strategy: 'ordered', 'stochastic' or 'raw'.
        has_shortcut: For raw sampling: whether each block of each stage has a
            shortcut. A block without one always runs. Default: all have one.

    Raises:
        ValueError: If the space does not fit the stages.

    Example:
        >>> SamplingSpace((3, 4, 6, 3), candidates=[1, 2, 4, 1]).num_ordered
        8
        >>> SamplingSpace((3, 4, 6, 3), min_depth=3).candidates
        (1, 2, 4, 1)
    """

    def __init__(
        self,
        num_blocks: Sequence[int],
        candidates: Optional[Sequence[int]] = None,
        min_depth: Optional[Union[int, Sequence[int]]] = None,
        strategy: str = 'ordered',
        has_shortcut: Optional[Sequence[Sequence[bool]]] = None,
    ) -> None:
        check_space(candidates, min_depth, strategy)
        self.num_blocks = tuple(num_blocks)
        self.strategy = strategy
        self.has_shortcut = has_shortcut or [[True] * n for n in num_blocks]
        if candidates is not None:
            self._check('space', 'number of candidate depths', candidates)
            lowest = [n - c + 1 for n, c in zip(self.num_blocks, candidates)]
        else:
            if min_depth is None:
                min_depth = 1
            if isinstance(min_depth, int):
                min_depth = [min_depth] * len(self.num_blocks)
            self._check('min_depth', 'minimum depth', min_depth)
            lowest = list(min_depth)
        self.depths: Tuple[Tuple[int, ...], ...] = tuple(
            tuple(range(full, low - 1, -1))
            for full, low in zip(self.num_blocks, lowest)
        )

    def _check(self, option: str, meaning: str, values: Sequence[int]) -> None:
        blocks = list(self.num_blocks)
        if len(values) != len(blocks):
            raise ValueError(
                f'{option} {list(values)} has {len(values)} entries, but the '
                f'network has {len(blocks)} stages of {blocks} blocks: set '
                'one per stage'
            )
        for stage, (value, full) in enumerate(zip(values, blocks), 1):
            is_count = isinstance(value, int) and value is not True
            if not is_count or not 1 <= value <= full:
                raise ValueError(
                    f'{option} {list(values)}: the {meaning} of stage '
                    f'{stage}, {value!r}, is not a whole number between 1 and '
                    f'{full}, the number of blocks in that stage'
                )

    @property
    def candidates(self) -> Tuple[int, ...]:
        """Number of candidate depths of each stage, as in the paper."""
        return tuple(len(depths) for depths in self.depths)

    @property
    def num_ordered(self) -> int:
        """Number of ordered subnets in the space, the full depth included."""
        return prod(self.candidates)

    def sample(
        self, rng: Random, size: Optional[Union[int, float]] = None
    ) -> Subnet:
        """Draw one subnet.

        Args:
            rng: Source of randomness.
            size: The subnet's input size, see :class:`Subnet`.
        """
        if self.strategy == 'raw':
            either = (Path.BRANCH, Path.SHORTCUT)
            return Subnet(
                tuple(
                    tuple(
                        rng.choice(either) if has else Path.BRANCH
                        for has in stage
                    )
                    for stage in self.has_shortcut
                ),
                size,
            )
        depths = [rng.choice(depths) for depths in self.depths]
        if self.strategy == 'ordered':
            return Subnet.ordered(depths, self.num_blocks, size)
        kept = [
            {0, *rng.sample(range(1, full), depth - 1)}
            for depth, full in zip(depths, self.num_blocks)
        ]
        return Subnet(
            tuple(
                tuple(
                    Path.BOTH if i in keep else Path.SHORTCUT
                    for i in range(full)
                )
                for keep, full in zip(kept, self.num_blocks)
            ),
            size,
        )

    def compute_keep_probability(self) -> Tuple[Tuple[float, ...], ...]:
        """Compute the probability that the branch of each block runs."""
        if self.strategy == 'raw':
            return tuple(
                tuple(0.5 if has else 1.0 for has in stage)
                for stage in self.has_shortcut
            )
        table = []
        for full, depths in zip(self.num_blocks, self.depths):
            if self.strategy == 'ordered':
                table.append(
                    tuple(
                        sum(d > i for d in depths) / len(depths)
                        for i in range(full)
                    )
                )
            else:
                others = sum(d - 1 for d in depths) / len(depths)
                table.append(
                    (1.0, *repeat(others / max(1, full - 1), full - 1))
                )
        return tuple(table)

    def average_skipped_before(self) -> Tuple[Tuple[float, ...], ...]:
        """Compute the expected number of skipped blocks before each block.

        Only blocks of the same stage count, and none if the block itself is
        skipped. These are the features that a DenseNet's layer does not read.
        """
        if self.strategy == 'raw':
            return tuple(
                tuple(
                    keep * (i - sum(keeps[:i])) for i, keep in enumerate(keeps)
                )
                for keeps in self.compute_keep_probability()
            )
        table = []
        for full, depths in zip(self.num_blocks, self.depths):
            pair = 0.0  # probability that one runs and an earlier one does not
            if self.strategy == 'stochastic' and full > 2:
                pair = sum((d - 1) * (full - d) for d in depths) / (
                    len(depths) * (full - 1) * (full - 2)
                )
            # The first is never skipped.
            table.append(tuple(pair * max(0, i - 1) for i in range(full)))
        return tuple(table)


def check_space(
    candidates: Optional[Sequence[int]],
    min_depth: Optional[Union[int, Sequence[int]]],
    strategy: str,
) -> None:
    """Refuse options that cannot fit any network.

    Args:
        candidates: See :class:`SamplingSpace`.
        min_depth: Likewise.
        strategy: Likewise.

    Raises:
        ValueError: If the value of an option is not allowed, or two
            options exclude each other.
    """
    for option, value in (('space', candidates), ('min_depth', min_depth)):
        if option == 'min_depth' and isinstance(value, int):
            check_count(option, value, least=1)
        elif value is not None:
            check_counts(option, value, 'whole numbers, one per stage')
    if strategy not in STRATEGIES:
        raise ValueError(
            f'strategy {strategy!r} is not one of {list(STRATEGIES)}'
        )
    if candidates is not None and min_depth is not None:
        raise ValueError(
            f'space {list(candidates)} and min_depth {min_depth} set the '
            'same thing: set only one of them'
        )
    if strategy == 'raw' and not (candidates is None and min_depth is None):
        raise ValueError(
            "strategy 'raw' decides for every block separately: set "
            'neither space nor min_depth with it'
        )
