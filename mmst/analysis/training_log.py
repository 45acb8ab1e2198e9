"""The logs that a training run leaves in its work directory."""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from mmengine.config import Config

EPOCH_LENGTH = re.compile(r'Epoch\(train\)\s+\[\d+\]\[\s*\d+/(\d+)\]')
NUM_PROCESSES = re.compile(r'GPU number: (\d+)')


class TrainingLog(NamedTuple):
    """One run, resumes included.

    Attributes:
        config: What it was trained with.
        num_processes: How many processes shared an iteration's batch.
        epoch_length: Iterations an epoch; 0 if the run counts no epochs.
        iterations: How far it has come, as far as it was logged.
        metrics: What validation gave, by the number of iterations before it.
    """

    config: Config
    num_processes: int
    epoch_length: int
    iterations: int
    metrics: Dict[int, Dict[str, Any]]


def read_training_log(work_dir: str) -> TrainingLog:
    """Read the logs of a run; what a resumed run did again replaces the old.

    Args:
        work_dir: The run's work directory, with a folder for each start.

    Raises:
        ValueError: If the logs are not there or say too little.

    Example:
        >>> log = read_training_log(work_dir)
        >>> log.epoch_length, log.iterations
        (3, 3)
    """
    lines, text, config = [], '', None
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        entries = [json.loads(line) for line in file.read_text().splitlines()]
        if not entries:
            continue  # stopped before anything was logged
        lines += entries
        config = file.with_name('config.py')
        text += ''.join(
            log.read_text() for log in sorted(file.parents[1].glob('*.log'))
        )
    if config is None:
        raise ValueError(
            f'{work_dir} has no training log: no */vis_data/scalars.json with '
            'a line in it, as LocalVisBackend writes them'
        )
    cfg = Config.fromfile(config)
    by_epoch = _check_counts_epochs(cfg)
    lengths = EPOCH_LENGTH.findall(text)
    if by_epoch and not lengths:
        raise ValueError(
            f'{work_dir} has no *.log with a line of training: '
            'it tells how many iterations an epoch has'
        )
    length = int(lengths[-1]) if by_epoch else 0
    processes = NUM_PROCESSES.findall(text)
    metrics = _read_metrics(lines, length or 1)
    trained = [line['iter'] for line in lines if 'iter' in line]
    return TrainingLog(
        cfg,
        int(processes[-1]) if processes else 1,
        length,
        max([*trained, *metrics], default=0),
        metrics,
    )


def _check_counts_epochs(cfg: Config) -> bool:
    """Whether validation is logged by epochs.

    Raises:
        ValueError: If it is while the loop counts iterations.
    """
    train = cfg.train_cfg
    loop = str(train.get('type', ''))
    by_epoch = train.get('by_epoch', 'IterBased' not in loop)
    hooks = cfg.get('default_hooks') or {}
    logs_epochs = (hooks.get('logger') or {}).get('log_metric_by_epoch', True)
    if logs_epochs != by_epoch:
        raise ValueError(
            f'the training counts {"epochs" if by_epoch else "iterations"}, '
            'but logged its metrics by the other: set '
            f'default_hooks.logger.log_metric_by_epoch={by_epoch}'
        )
    return by_epoch


def _read_metrics(
    lines: List[Dict[str, Any]], factor: int
) -> Dict[int, Dict[str, Any]]:
    """Lines of validation, by iteration and in order.

    Those of training have the iteration; other lines may share a step.
    """
    found: Dict[int, Dict[str, Any]] = {}
    for line in lines:
        if 'iter' not in line and 'time' in line:
            found[line['step'] * factor] = line
    return dict(sorted(found.items()))
