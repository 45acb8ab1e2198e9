"""Write the numbers and the figure of an analysis, or nothing."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Sequence

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_results(
    folder: Path, name: str, numbers: Any, figure: 'Figure'
) -> None:
    """Write ``name``.json and ``name``.png, and say so.

    Both are made before either is written, so that an error leaves nothing
    half done.

    Args:
        folder: Output folder; created if needed.
        name: Of both files, without ending.
        numbers: What JSON can hold.
        figure: The picture.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format='png', dpi=150)
    text = json.dumps(numbers, indent=1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{name}.json').write_text(text)
    (folder / f'{name}.png').write_bytes(picture.getvalue())
    print(f'Written to {folder}/{name}.json and {folder}/{name}.png')


def choose_digits(largest: float) -> int:
    """Digits after the point: of percentages, or of fractions of one.

    Args:
        largest: The largest of the scores.
    """
    return 2 if largest > 1 else 4


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a plain text table: first column left-aligned, others right.

    Args:
        head: Titles of the columns.
        rows: Their cells.
    """
    lines: List[Sequence[str]] = [head, *rows]
    first, *others = (
        max(len(line[column]) for line in lines) for column in range(len(head))
    )
    return '\n'.join(
        f'{line[0]:<{first}}'
        + ''.join(
            f'  {cell:>{width}}' for cell, width in zip(line[1:], others)
        )
        for line in lines
    )
