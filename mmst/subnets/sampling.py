"""Draw the subnets of an iteration: a function of seed and iteration."""

from dataclasses import replace
from functools import partial
from itertools import product
from math import prod
from operator import index
from random import Random
from typing import Collection, List, Optional, Sequence, Tuple, Union

from torch import nn

from .options import (
    check_count,
    check_counts,
    check_flag,
    check_list,
    is_number,
)
from .stages import Stage, check_branch, find_stages
from .subnet import Path, Subnet

Size = Union[int, float]

STRATEGIES = ('ordered', 'stochastic', 'raw')

#: Maximum number of subnets for 'all'. By FLOPs, with ResNet-50 and shared
#: prefixes at full size, 60 cost 9.65 times plain training, all 216 cost 21.7.
MAX_ALL = 64


class SamplingSpace:
    """The depths that subnets may have, stage by stage (Table 2).

    Each stage's depth is drawn uniformly and independently. *Ordered* sampling
    keeps the first blocks of the stage; *stochastic* sampling the first block
    and a random choice among the others; *raw* sampling, the unraveled view,
    the residual branch alone or the shortcut alone of every block, each with
    probability one half (Fig. 3).

    Args:
        num_blocks: Number of blocks of each stage, such as (3, 4, 6, 3).
        candidates: The paper's form: for each stage, the number of candidate
            depths, counted down from the full depth. ``[1, 2, 4, 1]`` on
            (3, 4, 6, 3) gives {3}, {4, 3}, {6, 5, 4, 3}, {3}.
        min_depth: The same for any network: the fewest blocks to keep, one
            number or one per stage; 3 is the space above. A stage of fewer
            blocks stays whole. Default: 1, all ordered subnets.
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
        _check_space(candidates, min_depth, strategy)
        self.num_blocks = tuple(num_blocks)
        self.strategy = strategy
        self.has_shortcut = has_shortcut or [[True] * n for n in num_blocks]
        if min_depth is None or isinstance(min_depth, int):
            min_depth = [min_depth or 1] * len(self.num_blocks)
        option, given = 'min_depth', min_depth
        if candidates is not None:
            option, given = 'space', candidates
        if len(given) != len(self.num_blocks):
            raise ValueError(
                f'{option} {list(given)} has {len(given)} entries, but the '
                f'network has {len(self.num_blocks)} stages of '
                f'{list(self.num_blocks)} blocks: set one per stage'
            )
        if candidates is not None:
            pairs = list(zip(candidates, self.num_blocks))
            for stage, (value, full) in enumerate(pairs, 1):
                if value > full:
                    raise ValueError(
                        f'space {list(candidates)}: the number of candidate '
                        f'depths of stage {stage}, {value}, is not a whole '
                        f'number between 1 and {full}, the number of blocks '
                        'in that stage'
                    )
            min_depth = [full - value + 1 for value, full in pairs]
        self.depths: Tuple[Tuple[int, ...], ...] = tuple(
            tuple(range(full, min(full, low) - 1, -1))
            for full, low in zip(self.num_blocks, min_depth)
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
        self,
        rng: Random,
        size: Optional[Size] = None,
        smallest: bool = False,
    ) -> Subnet:
        """Draw one subnet.

        Args:
            rng: Source of randomness.
            size: The subnet's input size, see :class:`Subnet`.
            smallest: Whether to draw among those of the fewest blocks. Raw
                sampling has none.
        """
        paths: List[Tuple[Path, ...]] = []
        if self.strategy == 'raw':
            either = (Path.BRANCH, Path.SHORTCUT)
            for stage in self.has_shortcut:
                drawn = (rng.choice(either) if h else either[0] for h in stage)
                paths.append(tuple(drawn))
            return Subnet(tuple(paths), size)
        depths = [
            stage[-1] if smallest else rng.choice(stage)
            for stage in self.depths
        ]
        for depth, full in zip(depths, self.num_blocks):
            keep: Collection[int] = range(depth)
            if self.strategy == 'stochastic':
                keep = {0, *rng.sample(range(1, full), depth - 1)}
            paths.append(
                tuple(
                    Path.BOTH if i in keep else Path.SHORTCUT
                    for i in range(full)
                )
            )
        return Subnet(tuple(paths), size)


def _check_space(
    candidates: Optional[Sequence[int]],
    min_depth: Optional[Union[int, Sequence[int]]],
    strategy: str,
) -> None:
    """Reject options that cannot fit any network."""
    if isinstance(min_depth, int):
        check_count('min_depth', min_depth, least=1)
    elif min_depth is not None:
        check_counts('min_depth', min_depth, 'whole numbers, one per stage')
    if candidates is not None:
        check_counts('space', candidates, 'whole numbers, one per stage')
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


class InputSizes:
    """The input sizes that subnets may have (Eq. 7).

    Numbers up to 1 are fractions of the main input's shorter side; whole
    numbers above 1 are pixels. From a range of pixels an integer is drawn
    uniformly; from a range of fractions a number, rounded to a pixel later.

    Args:
        size_range: (L_min, L_max), such as (86, 200) or (0.43, 1.0).
        sizes: A list to choose from instead.

    Raises:
        ValueError: If a number is neither a fraction nor pixels, if the two
            are mixed, or if L_min > L_max.

    Example:
        >>> from random import Random
        >>> 86 <= InputSizes(size_range=(86, 200)).sample(Random(0)) <= 200
        True
    """

    def __init__(
        self,
        size_range: Optional[Sequence[Size]] = None,
        sizes: Optional[Sequence[Size]] = None,
    ) -> None:
        if size_range is not None and sizes is not None:
            raise ValueError(
                f'size_range {size_range} and sizes {sizes} '
                'exclude each other: set only one of them'
            )
        self.is_range = size_range is not None
        self.values: Tuple[Size, ...] = ()
        if sizes is not None:
            self.values = _parse_sizes('sizes', sizes)
        if size_range is not None:
            self.values = _parse_sizes('size_range', size_range)
            if len(self.values) != 2 or self.values[0] > self.values[1]:
                raise ValueError(
                    f'size_range {self.values} is not a pair (L_min, L_max), '
                    'the smaller first'
                )

    def sample(self, rng: Random) -> Optional[Size]:
        """Draw one size: pixels, a fraction, or None for the main input's."""
        if not self.values:
            return None
        if not self.is_range:
            return rng.choice(self.values)
        low, high = self.values
        if isinstance(low, int) and isinstance(high, int):
            return rng.randint(low, high)
        return rng.uniform(low, high)

    def __str__(self) -> str:
        if not self.values:
            return "the main input's"
        unit = ' px' if isinstance(self.values[0], int) else ' of the input'
        if self.is_range:
            return f'{self.values[0]} to {self.values[1]}{unit}'
        return ', '.join(map(str, self.values)) + unit


def _parse_sizes(option: str, numbers: Sequence[Size]) -> Tuple[Size, ...]:
    check_list(option, numbers, 'numbers')
    if not numbers:
        raise ValueError(
            f'{option} is empty: set at least one size, or leave it out '
            'to use the main input unchanged'
        )
    if all(map(is_number, numbers)):
        if all(0 < n <= 1 for n in numbers):
            return tuple(float(n) for n in numbers)
        if all(n > 1 and n == int(n) for n in numbers):
            return tuple(int(n) for n in numbers)
    raise ValueError(
        f'{option} {tuple(numbers)}: sizes must be either all fractions '
        "of the main input's shorter side, in (0, 1], or all pixels, "
        'whole numbers above 1'
    )


class SubnetSampler:
    """Draws K subnets for every iteration: depths and input size.

    The draw depends only on the seed and the iteration. So it is the same in
    every process without communication, and does not change if a run is
    stopped and resumed.

    Args:
        num_subnets: K, the number of subnets per iteration; 0 is plain
            training. 'all' is every ordered subnet of the space.
        space: Number of candidate depths of each stage, such as
            ``[1, 2, 4, 1]``: ``candidates`` of :class:`SamplingSpace`.
        min_depth: Fewest blocks of a stage, see :class:`SamplingSpace`.
        strategy: Way of sampling, see :class:`SamplingSpace`.
        size_range: Range of sizes, see :class:`InputSizes`.
        sizes: List of sizes, see :class:`InputSizes`. Default: the main
            input's size.
        num_sizes: Number of different sizes among the K subnets of an
            iteration. Subnets of one size share computation. Default: K, a
            size for each, as in the paper. The distribution of each single
            subnet does not change.
        sandwich: Whether the first of the K subnets is the smallest of the
            space, at the smallest size, beside those of ``num_sizes``. It is
            the rule of OFA and BigNAS, and not in the paper.
        begin: First iteration, from 0, that trains subnets.
        every: Train subnets in every n-th iteration from there on; the others
            are plain training.
        seed: The seed of all draws.

    Attributes:
        stages: The stages of the model, once it is known.

    Raises:
        ValueError: If the value of an option is not allowed.

    Example:
        >>> from torchvision.models import resnet50
        >>> sampler = SubnetSampler(
        ...     num_subnets=2, min_depth=3, size_range=(86, 200))
        >>> sampler.fit(resnet50()).space.candidates
        (1, 2, 4, 1)
        >>> len(sampler.draw(iteration=7))
        2
    """

    def __init__(
        self,
        num_subnets: Union[int, str] = 1,
        space: Optional[Sequence[int]] = None,
        min_depth: Optional[Union[int, Sequence[int]]] = None,
        strategy: str = 'ordered',
        size_range: Optional[Sequence[Size]] = None,
        sizes: Optional[Sequence[Size]] = None,
        num_sizes: Optional[int] = None,
        sandwich: bool = False,
        begin: int = 0,
        every: int = 1,
        seed: int = 0,
    ) -> None:
        if num_subnets != 'all':
            check_count('num_subnets', num_subnets, least=0)
        elif strategy != 'ordered':
            raise ValueError(
                f"num_subnets='all' is for ordered subnets, not for strategy "
                f'{strategy!r}: set a number'
            )
        check_flag('sandwich', sandwich)
        if sandwich and num_subnets == 'all':
            raise ValueError(
                "sandwich=True: num_subnets='all' trains the smallest subnet "
                'in every iteration already: set sandwich=False'
            )
        if sandwich and strategy == 'raw':
            raise ValueError(
                "sandwich=True: strategy 'raw' decides for every block "
                'separately, so no subnet is the smallest: set sandwich=False'
            )
        check_count('begin', begin, least=0)
        check_count('every', every, least=1)
        if num_sizes is not None:
            check_count('num_sizes', num_sizes, least=1)
        _check_space(space, min_depth, strategy)
        self._num_subnets = num_subnets
        self._make_space = partial(
            SamplingSpace,
            candidates=space,
            min_depth=min_depth,
            strategy=strategy,
        )
        self.sizes = InputSizes(size_range, sizes)
        self.num_sizes = num_sizes
        self.sandwich = sandwich
        self.begin = begin
        self.every = every
        self.seed = seed
        self.stages: Tuple[Stage, ...] = ()
        self._space: Optional[SamplingSpace] = None

    def fit(self, model: nn.Module) -> 'SubnetSampler':
        """Set up the space of a model's stages, and return this sampler.

        Raises:
            TypeError: If the model's stages cannot be found.
            ValueError: If the space does not fit them.
        """
        self.stages = find_stages(model)
        self._space = self._make_space(
            [len(stage) for stage in self.stages],
            has_shortcut=[
                [block.shortcut is not None for block in stage.blocks]
                for stage in self.stages
            ],
        )
        if self._space.strategy == 'raw':
            for stage in self.stages:
                for block in stage.blocks:
                    check_branch(stage, block)
        if self._num_subnets == 'all' and self.num_subnets > MAX_ALL:
            raise ValueError(
                f"num_subnets='all' would train {self.num_subnets} subnets in "
                f'every iteration, more than {MAX_ALL}: set a smaller space, '
                'or num_subnets to a number'
            )
        return self

    @property
    def space(self) -> SamplingSpace:
        """The space of the model's stages."""
        if self._space is None:
            raise RuntimeError(
                'the sampler has no model yet: call sampler.fit(model) first'
            )
        return self._space

    @property
    def num_subnets(self) -> int:
        """K; with 'all', the number of subnets in the space."""
        if isinstance(self._num_subnets, str):
            return self.space.num_ordered
        return self._num_subnets

    @property
    def is_off(self) -> bool:
        """Whether no iteration trains a subnet."""
        return self._num_subnets == 0

    def find_first(self, iteration: int) -> int:
        """Find the first iteration with subnets, from a certain one on."""
        since = max(0, iteration - self.begin)
        return self.begin - (-since // self.every) * self.every

    def count_iterations(self, num_iterations: int) -> int:
        """Count those of the first ``num_iterations`` that train subnets."""
        if self.is_off:
            return 0
        return -(-max(0, num_iterations - self.begin) // self.every)

    def draw(self, iteration: int) -> List[Subnet]:
        """Draw the subnets of an iteration; none if it is plain training.

        Args:
            iteration: Its number, from 0, over all epochs.

        Raises:
            TypeError: If it is not a whole number.
        """
        try:
            iteration = index(iteration)
        except TypeError:
            raise TypeError(
                f'iteration {iteration!r} is not a whole number: count the '
                'iterations of the whole training, from 0'
            ) from None
        since = iteration - self.begin
        if self.is_off or since < 0 or since % self.every:
            return []
        rng = Random(f'{self.seed}:{iteration}')
        if self._num_subnets == 'all':
            num_blocks = self.space.num_blocks
            drawn = [
                Subnet.ordered(depths, num_blocks, self.sizes.sample(rng))
                for depths in product(*self.space.depths)
            ]
        else:
            drawn = [
                self.space.sample(rng, self.sizes.sample(rng))
                for _ in range(self.num_subnets)
            ]
        sizes = [subnet.size for subnet in drawn[: self.num_sizes]]
        drawn = [
            replace(subnet, size=sizes[k % len(sizes)])
            for k, subnet in enumerate(drawn)
        ]
        if self.sandwich:
            drawn[0] = self.draw_smallest(rng)
        return drawn

    def draw_smallest(self, rng: Random) -> Subnet:
        """Draw a subnet of the fewest blocks, at the smallest size."""
        return self.space.sample(
            rng, min(self.sizes.values, default=None), smallest=True
        )
