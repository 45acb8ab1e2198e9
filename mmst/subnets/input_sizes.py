"""The input sizes that subnets can have."""

from random import Random
from typing import Optional, Sequence, Tuple, Union

from .options import check_list, is_number


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
        size_range: Optional[Sequence[Union[int, float]]] = None,
        sizes: Optional[Sequence[Union[int, float]]] = None,
    ) -> None:
        if size_range is not None and sizes is not None:
            raise ValueError(
                f'size_range {size_range} and sizes {sizes} '
                'exclude each other: set only one of them'
            )
        self.is_range = size_range is not None
        if size_range is not None:
            check_list('size_range', size_range, 'two numbers')
            if len(size_range) != 2:
                raise ValueError(
                    f'size_range {tuple(size_range)} is not a '
                    'pair (L_min, L_max)'
                )
            self.values = self._parse('size_range', size_range)
            if self.values[0] > self.values[1]:
                raise ValueError(
                    f'size_range {tuple(size_range)} has L_min > L_max: put '
                    'the smaller first'
                )
        elif sizes is not None:
            check_list('sizes', sizes, 'numbers')
            if len(sizes) == 0:
                raise ValueError(
                    'sizes is empty: set at least one size, or '
                    'leave it out to use the main input unchanged'
                )
            self.values = self._parse('sizes', sizes)
        else:
            self.values = ()

    @staticmethod
    def _parse(
        option: str, numbers: Sequence[Union[int, float]]
    ) -> Tuple[Union[int, float], ...]:
        is_numeric = all(map(is_number, numbers))
        if is_numeric and all(0 < n <= 1 for n in numbers):
            return tuple(float(n) for n in numbers)
        if is_numeric and all(n > 1 and n == int(n) for n in numbers):
            return tuple(int(n) for n in numbers)
        raise ValueError(
            f'{option} {tuple(numbers)}: sizes must be either all fractions '
            "of the main input's shorter side, in (0, 1], or all pixels, "
            'whole numbers above 1'
        )

    def sample(self, rng: Random) -> Optional[Union[int, float]]:
        """Draw one size: pixels, a fraction, or None for the main input's."""
        if not self.values:
            return None
        if not self.is_range:
            return rng.choice(self.values)
        low, high = self.values
        if isinstance(low, int) and isinstance(high, int):
            return rng.randint(low, high)
        return rng.uniform(low, high)

    def spread(self, max_sizes: int) -> Tuple[Union[int, float, None], ...]:
        """Choose sizes whose mean cost is about that of all sizes.

        Args:
            max_sizes: Maximum number of sizes, evenly spread, for a range.
        """
        if not self.values:
            return (None,)
        if not self.is_range:
            return self.values
        low, high = self.values
        if isinstance(low, int) and isinstance(high, int):
            if high - low + 1 <= max_sizes:
                return tuple(range(low, high + 1))
            width = high - low + 1
            return tuple(
                low + int(width * (i + 0.5) / max_sizes)
                for i in range(max_sizes)
            )
        return tuple(
            low + (high - low) * (i + 0.5) / max_sizes
            for i in range(max_sizes)
        )

    def __str__(self) -> str:
        if not self.values:
            return "the main input's"
        unit = ' px' if isinstance(self.values[0], int) else ' of the input'
        if self.is_range:
            return f'{self.values[0]} to {self.values[1]}{unit}'
        return ', '.join(map(str, self.values)) + unit
