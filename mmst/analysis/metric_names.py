"""Which of an evaluator's metrics to look at, and its unit."""

from typing import Mapping, Optional

# What each toolbox's papers report, by the ends of the metrics' names.
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
)
# The unit in which the toolboxes give metrics, by how the names begin.
UNITS = dict.fromkeys(
    ('top', 'mIoU', 'aAcc', 'mAcc', 'mDice', 'PQ', 'SQ', 'RQ'), '%'
)
UNITS.update(dict.fromkeys(('bbox_mAP', 'segm_mAP', 'AP', 'PCK'), '0 to 1'))


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


def label_metric(metric: str) -> str:
    """Label a metric with its unit, for a picture's axis."""
    last = metric.rsplit('/', 1)[-1]
    for name, unit in UNITS.items():
        if last.startswith(name):
            return f'{metric} ({unit})'
    return metric
