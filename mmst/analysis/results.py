"""Metrics of an evaluator, and the tables of an analysis."""

import re
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, TypeVar

from rich.console import Console
from rich.progress import track

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
    metrics: Mapping[str, Any], name: Optional[str] = None
) -> str:
    """Choose the metric to read: that of this name, or the task's usual one.

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
    """Choose whether the 'greater' or the 'less' of two scores is better.

    A given rule counts more than that of the config's CheckpointHook for this
    metric, and this more than the metric's name.

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


def show_progress(items: Sequence[T], title: str) -> Iterable[T]:
    """Iterate, and show on the terminal how far the loop has come."""
    console = Console(stderr=True)
    return track(items, title, transient=True, console=console)


def choose_digits(scores: Iterable[float]) -> int:
    """Choose the digits after the point: of percentages, or of fractions."""
    return 2 if max(scores) > 1 else 4


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a plain text table: first column left-aligned, others right."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return '\n'.join(
        '  '.join(
            [f'{line[0]:<{widths[0]}}']
            + [f'{x:>{width}}' for x, width in zip(line[1:], widths[1:])]
        )
        for line in [head, *rows]
    )
