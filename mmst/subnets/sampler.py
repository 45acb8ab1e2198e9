"""Draw the subnets of an iteration: a function of seed and iteration."""

from itertools import product
from random import Random
from typing import List, Optional, Sequence, Tuple, Union

from torch import nn

from .input_sizes import InputSizes
from .options import check_count
from .space import SamplingSpace, check_space
from .stages import Stage, check_branch, find_stages
from .subnet import Subnet

Size = Union[int, float]

#: Maximum number of subnets for 'all'. By FLOPs, with ResNet-50 and shared
#: prefixes at full size, 60 cost 9.65 times plain training, all 216 cost 21.7.
MAX_ALL = 64


class SubnetSampler:
    """Draws K subnets for every iteration: depths and input size.

    The draw depends only on the seed and the iteration. So it is the same in
    every process without communication, and does not change if a run is
    stopped and resumed.

    Args:
        num_subnets: K, the number of subnets per iteration; 0 is plain
            training. 'all' is every ordered subnet of the space.
        space: Number of candidate depths of each stage, counted down from the
            full depth, such as ``[1, 2, 4, 1]`` (Table 2).
        min_depth: Instead of ``space``: minimum number of blocks to keep, one
            number or one per stage. Default: 1.
        strategy: 'ordered', 'stochastic' or 'raw' (Fig. 3).
        size_range: (L_min, L_max) of the subnets' shorter input side: whole
            pixels, or fractions of the main input's in (0, 1].
        sizes: Instead of ``size_range``: a list of sizes to choose from.
            Default: the main input's size.
        num_sizes: Number of different sizes among the K subnets of an
            iteration. Subnets of one size share computation. Default: K, a
            size for each, as in the paper. The distribution of each single
            subnet does not change.
        begin: First iteration, from 0, that trains subnets.
        every: Train subnets in every n-th iteration from there on; the others
            are plain training.
        seed: The seed of all draws.

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
        check_count('begin', begin, least=0)
        check_count('every', every, least=1)
        if num_sizes is not None:
            check_count('num_sizes', num_sizes, least=1)
        check_space(space, min_depth, strategy)
        self._num_subnets = num_subnets
        self._space_options = dict(
            candidates=space, min_depth=min_depth, strategy=strategy
        )
        self.sizes = InputSizes(size_range, sizes)
        self.num_sizes = num_sizes
        self.begin = begin
        self.every = every
        self.seed = seed
        self._stages: Tuple[Stage, ...] = ()
        self._space: Optional[SamplingSpace] = None

    def fit(self, model: nn.Module) -> 'SubnetSampler':
        """Set up the sampling space of a model's stages.

        Args:
            model: A model or a backbone.

        Returns:
            SubnetSampler: This sampler.

        Raises:
            TypeError: If the model's stages cannot be found.
            ValueError: If the space does not fit them.
        """
        self._stages = find_stages(model)
        if self._space_options['strategy'] == 'raw':
            for stage in self._stages:
                for block in stage.blocks:
                    check_branch(stage, block)
        self._space = SamplingSpace(
            [len(stage) for stage in self._stages],
            has_shortcut=[
                [block.shortcut is not None for block in stage.blocks]
                for stage in self._stages
            ],
            **self._space_options,  # type: ignore[arg-type]
        )
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
    def stages(self) -> Tuple[Stage, ...]:
        """The model's stages."""
        return self._stages

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

    def count_iterations(self, num_iterations: int) -> int:
        """Count the iterations that train subnets, up to a certain one.

        Args:
            num_iterations: Iterations so far, with and without subnets.
        """
        if self.is_off:
            return 0
        return -(-max(0, num_iterations - self.begin) // self.every)

    def draw(self, iteration: int) -> List[Subnet]:
        """Draw the subnets of an iteration; none if it is plain training.

        Args:
            iteration: Number of the iteration, from 0, over the whole
                training.
        """
        since = iteration - self.begin
        if self.is_off or since < 0 or since % self.every:
            return []
        rng = Random(f'{self.seed}:{iteration}')
        if self._num_subnets == 'all':
            drawn = self._draw_all(rng)
        else:
            drawn = [
                self.space.sample(rng, self.sizes.sample(rng))
                for _ in range(self.num_subnets)
            ]
        if self.num_sizes is None:
            return drawn
        shared = [subnet.size for subnet in drawn[: self.num_sizes]]
        return [
            Subnet(subnet.paths, shared[k % len(shared)])
            for k, subnet in enumerate(drawn)
        ]

    def _draw_all(self, rng: Random) -> List[Subnet]:
        return [
            Subnet.ordered(
                depths, self.space.num_blocks, self.sizes.sample(rng)
            )
            for depths in product(*self.space.depths)
        ]
