"""Which subnets an iteration trains: a function of the seed and its number."""

from itertools import product
from random import Random
from typing import List, Optional, Sequence, Tuple, Union

from torch import nn

from .input_sizes import InputSizes
from .options import check_count
from .space import SamplingSpace, check_space
from .stages import Stage, find_stages
from .subnet import Subnet

Size = Union[int, float]

#: Most subnets that 'all' may be. By FLOPs, with ResNet-50 and shared prefixes
#: at full size, 60 cost 9.65 times plain training, all 216 cost 21.7.
MAX_ALL = 64


class SubnetSampler:
    """Draws K subnets for every iteration: depths and input size.

    The draw is a function of the seed and the iteration alone: the same in
    every process without communication, and after a resume what it would have
    been without the stop.

    Args:
        num_subnets: K, subnets an iteration; 0 is plain training. 'all' takes
            every ordered subnet of the space in every iteration.
        space: Number of candidate depths of each stage, counted down from the
            full depth, such as ``[1, 2, 4, 1]`` (Table 2).
        min_depth: Instead of ``space``: blocks to keep at least, in every
            stage or for each. Neither means at least one.
        strategy: 'ordered', 'stochastic' or 'raw' (Fig. 3).
        size_range: (L_min, L_max) of the subnets' shorter input side: whole
            pixels, or fractions of the main input's in (0, 1].
        sizes: Instead of ``size_range``: a list of sizes to choose from.
            Neither means the main input as it is.
        num_sizes: How many sizes the K subnets of an iteration share between
            them. Subnets of one size share computation. Default: K, a size
            for each, as in the paper. Each subnet's own distribution is the
            same in any case.
        begin: First iteration, from 0, that trains subnets.
        every: From there on, every how many iterations subnets are trained;
            the others are plain training.
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
        """Set up the space of a model's stages, to draw from it.

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
            _check_branches(self._stages)
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
        """Count those of a training's first iterations that train subnets.

        Args:
            num_iterations: Iterations so far, those without subnets too.
        """
        if self.is_off:
            return 0
        return -(-max(0, num_iterations - self.begin) // self.every)

    def draw(self, iteration: int) -> List[Subnet]:
        """Draw the subnets of an iteration; none where it is plain training.

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


def _check_branches(stages: Sequence[Stage]) -> None:
    """Refuse raw sampling of blocks without a separate branch."""
    for stage in stages:
        for block in stage.blocks:
            if block.shortcut is not None and block.branch_only is None:
                raise ValueError(
                    "strategy 'raw' is not supported for "
                    f'{type(block.module).__name__} in {stage.name}: set '
                    "strategy to 'ordered' or 'stochastic'"
                )
