"""The logs that a training run leaves in its work directory."""

import json
import re
from math import ceil
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from mmengine.config import Config

EPOCH_LENGTH = re.compile(r'Epoch\(train\)\s+\[\d+\]\[\s*\d+/(\d+)\]')
NUM_PROCESSES = re.compile(r'GPU number: (\d+)')
RESUMED = re.compile(r'resumed epoch: \d+, iter: (\d+)')

# Lines of validation, by the number of iterations before it.
Metrics = Dict[int, Dict[str, Any]]


class TrainingLog(NamedTuple):
    """One run, resumes included.

    Attributes:
        config: The config of the training.
        num_processes: Number of processes that shared an iteration's batch.
        epoch_length: Iterations an epoch; 0 if the run counts no epochs.
        iterations: Number of iterations so far, as far as they were logged.
        metrics: Validation metrics, by the number of iterations before it.
    """

    config: Config
    num_processes: int
    epoch_length: int
    iterations: int
    metrics: Metrics


def read_training_log(work_dir: str) -> TrainingLog:
    """Read the logs of a run; iterations repeated by a resume replace the old.

    A work directory has a folder for each start. Several trainings may have
    been started in one: the last counts, with the starts that it was resumed
    from.

    Raises:
        ValueError: If the logs do not exist, are incomplete or damaged,
            naming the run, the file and the line.

    Example:
        >>> log = read_training_log(work_dir)
        >>> log.epoch_length, log.iterations
        (3, 3)
    """
    folder, config = Path(work_dir), None
    metrics: Metrics = {}
    last, num_processes = 0, 1
    files = sorted(folder.glob('*/vis_data/scalars.json'))
    texts = [_read_logs(file.parents[1]) for file in files]
    lengths = EPOCH_LENGTH.findall(''.join(texts))
    for file, text in zip(files, texts):
        lines = _read_lines(file)
        if not lines:
            continue
        config = _read_config(file.with_name('config.py'))
        by_iter = 'IterBased' in str(config.train_cfg.get('type', ''))
        by_epoch = config.train_cfg.get('by_epoch', not by_iter)
        if by_epoch and not lengths:
            raise ValueError(
                f'{work_dir} has no *.log with a training line, '
                'which shows the number of iterations per epoch'
            )
        length = int(lengths[-1]) if by_epoch else 0
        processes = NUM_PROCESSES.findall(text) or [num_processes]
        num_processes = int(processes[-1])
        # Iterations after the checkpoint that it resumed from were repeated;
        # a training that began replaces the one before.
        resumed = RESUMED.search(text)
        begin = int(resumed[1]) if resumed else 0
        metrics = {i: line for i, line in metrics.items() if i <= begin}
        metrics.update(_read_metrics(lines, config, length, begin))
        trained = [line['iter'] for line in lines if 'iter' in line]
        last = max([min(last, begin), *trained])
    if config is None:
        raise ValueError(
            f'{work_dir} has no training log: no */vis_data/scalars.json '
            'of LocalVisBackend with any line in it'
        )
    return TrainingLog(
        config,
        num_processes,
        length,
        max([last, *metrics]),
        dict(sorted(metrics.items())),
    )


def _read_logs(folder: Path) -> str:
    logs = sorted(folder.glob('*.log'))
    return ''.join(log.read_text(errors='replace') for log in logs)


def _read_lines(file: Path) -> List[Dict[str, Any]]:
    lines, texts = [], file.read_bytes().splitlines()
    for number, text in enumerate(texts, 1):
        try:
            lines.append(dict(json.loads(text)))
        except (ValueError, TypeError) as error:
            if number == len(texts):
                break  # half written: the training was killed
            raise ValueError(
                f'line {number} of {file} is not a JSON object ({error}), so '
                f'the log of the training in {file.parents[2]} is damaged. '
                'Remove the line to do without it'
            ) from None
    return lines


def _read_config(path: Path) -> Config:
    try:
        return Config.fromfile(path)
    except Exception as error:
        raise ValueError(
            f'{path}, the config of the training in {path.parents[1]}, '
            f'cannot be read: {error}'
        ) from error


def _read_metrics(
    lines: List[Dict[str, Any]], config: Config, epoch_length: int, begin: int
) -> Metrics:
    """Read the lines of validation, after the iteration where they begin.

    Lines of training have the iteration; other lines may share a step.
    """
    hooks = config.get('default_hooks') or {}
    logs_epochs = (hooks.get('logger') or {}).get('log_metric_by_epoch', True)
    every = config.train_cfg.get('val_interval', 1)
    found: Metrics = {}
    now = begin
    for line in lines:
        if 'iter' in line:
            now = line['iter']
        elif 'time' in line and not logs_epochs:
            found[line['step']] = line
        elif 'time' in line and epoch_length:
            found[line['step'] * epoch_length] = line
        elif 'time' in line:
            # Without epochs MMEngine logs each with step 0. They come every
            # so many iterations, of which not each has a line.
            last = max(found, default=begin)
            found[max(ceil(now / every) * every, last + every)] = line
    return found
