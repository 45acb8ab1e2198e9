"""Metrics of an evaluator, and the tables and files of an analysis."""

import io
import json
import re
from contextlib import closing, contextmanager
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    TypeVar,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar('T')

# The metrics of each toolbox's papers, by the ends of their names.
PREFERRED = (
    'accuracy/top1',
    'bbox_mAP',
    'segm_mAP',
    'mAP',
    'PQ',
    'mIoU',
    'AP',
    'PCK',
    'AUC',
    'NME',
    'EPE',
)
# The unit in which the toolboxes give metrics, by how the names begin.
UNITS = dict.fromkeys(
    ('top', 'mIoU', 'aAcc', 'mAcc', 'mDice', 'PQ', 'SQ', 'RQ'), '%'
)
UNITS.update(dict.fromkeys(('bbox_mAP', 'segm_mAP', 'AP', 'PCK'), '0 to 1'))
# The two rules of MMEngine's CheckpointHook: which of two scores is better.
GREATER, LESS = 'greater', 'less'
# Metrics of which less is better, by parts of their names.
ERRORS = re.compile(
    r'error|rmse|mpjpe|mpvpe|loss|perplexity|(?<![a-z])'
    r'(nme|epe|mae|mse|mmr|ece|nll|fid|rel|silog|log10)(?![a-z])',
    re.IGNORECASE,
)


def choose_metric(
    metrics: Mapping[str, object], name: Optional[str] = None
) -> str:
    """Choose the metric to read.

    Args:
        metrics: The evaluator's metrics, by name.
        name: The requested metric; ``None`` for the usual one of the
            task: top-1 accuracy, mAP, PQ, mIoU or AP.

    Raises:
        ValueError: If the metric does not exist, or none is known.
    """
    if name is not None:
        if name not in metrics:
            raise ValueError(
                f"metric '{name}' is not one of the evaluator's "
                f'metrics: {sorted(metrics)}'
            )
        return name
    for end in PREFERRED:
        for given in metrics:
            if given == end or given.endswith(f'/{end}'):
                return given
    if len(metrics) == 1:
        return next(iter(metrics))
    raise ValueError(
        'the evaluator returns no metric known to mmst: choose '
        f'one with --metric: {sorted(metrics)}'
    )


def choose_rule(
    metric: str,
    cfg: Optional[Mapping[str, Any]] = None,
    rule: Optional[str] = None,
) -> str:
    """Choose whether more or less of a metric is better.

    Args:
        metric: The metric's name.
        cfg: The training's config. The ``rule`` that its CheckpointHook has
            for this metric counts more than the metric's name.
        rule: The rule to use in any case.

    Returns:
        str: ``'greater'`` or ``'less'``, as in MMEngine's CheckpointHook.

    Raises:
        ValueError: If the rule is neither.
    """
    if rule is None:
        rule = _read_rules(cfg or {}).get(metric.rpartition('/')[2])
    if rule is None:
        rule = LESS if ERRORS.search(metric) else GREATER
    if rule not in (GREATER, LESS):
        raise ValueError(
            f"rule '{rule}' of {metric} (--rule, or `rule` of CheckpointHook) "
            f"must be '{GREATER}' or '{LESS}'"
        )
    return rule


def _read_rules(cfg: Mapping[str, Any]) -> Dict[str, str]:
    """Read the rules that CheckpointHook has for metrics, without prefix."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    names, rules = (
        [value] if isinstance(value, str) else list(value or ())
        for value in (hook.get('save_best'), hook.get('rule'))
    )
    if len(rules) == 1:
        rules *= len(names)
    return {name.rpartition('/')[2]: rule for name, rule in zip(names, rules)}


def label_metric(metric: str, rule: str = GREATER) -> str:
    """Label a metric with its unit, for a table or a picture's axis."""
    last = metric.rsplit('/', 1)[-1]
    notes = [unit for name, unit in UNITS.items() if last.startswith(name)][:1]
    if rule == LESS:
        notes.append('less is better')
    return f'{metric} ({", ".join(notes)})' if notes else metric


@contextmanager
def show_progress(items: Iterable[T], title: str) -> Iterator[Iterable[T]]:
    """Show on the terminal how far a loop has come.

    Args:
        items: The items of the loop.
        title: A word for them.

    Yields:
        The items.
    """
    from rich.console import Console
    from rich.progress import track

    steps = track(
        list(items), title, transient=True, console=Console(stderr=True)
    )
    # track() is a generator, though its hint says less.
    with closing(steps):  # type: ignore[type-var]
        yield steps


def write_results(
    folder: Path, name: str, numbers: Any, figure: 'Figure'
) -> None:
    """Write ``name``.json and ``name``.png, and say so.

    Both are made before either is written, so that an error leaves nothing
    half done.

    Args:
        folder: Output folder; created if needed.
        name: Name of both files, without ending.
        numbers: Anything that JSON can hold.
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
    """Choose the digits after the point: of percentages, or of fractions.

    Args:
        largest: The largest of the scores.
    """
    return 2 if largest > 1 else 4


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a plain text table: first column left-aligned, others right.

    Args:
        head: Titles of the columns.
        rows: Cells of each row.
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
