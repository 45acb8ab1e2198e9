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

    Several trainings may have been started in one work directory. The last
    one counts, with the starts that it was resumed from.

    Args:
        work_dir: The run's work directory, with a folder for each start.

    Raises:
        ValueError: If the logs do not exist, are incomplete or damaged,
            naming the run, the file and the line.

    Example:
        >>> log = read_training_log(work_dir)
        >>> log.epoch_length, log.iterations
        (3, 3)
    """
    starts = []
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines = _read_lines(file)
        if lines:
            starts.append(_read_start(file, lines))
    if not starts:
        raise ValueError(
            f'{work_dir} has no training log: no */vis_data/scalars.json '
            'of LocalVisBackend with any line in it'
        )
    cfg = starts[-1].config
    text = ''.join(start.text for start in starts)
    length = 0
    by_iter = 'IterBased' in str(cfg.train_cfg.get('type', ''))
    if cfg.train_cfg.get('by_epoch', not by_iter):
        lengths = EPOCH_LENGTH.findall(text)
        if not lengths:
            raise ValueError(
                f'{work_dir} has no *.log with a training line, '
                'which shows the number of iterations per epoch'
            )
        length = int(lengths[-1])
    last = 0
    metrics: Metrics = {}
    for start in starts:
        # Iterations after the checkpoint that it resumed from were repeated;
        # a training that began replaces the one before.
        at = start.resumed_at
        metrics = {i: line for i, line in metrics.items() if i <= at}
        metrics.update(_read_metrics(start, cfg, length))
        trained = [line['iter'] for line in start.lines if 'iter' in line]
        last = max([min(last, at), *trained])
    processes = NUM_PROCESSES.findall(text) or [1]
    return TrainingLog(
        cfg,
        int(processes[-1]),
        length,
        max([last, *metrics]),
        dict(sorted(metrics.items())),
    )


class _Start(NamedTuple):
    """The log of one start of a training.

    Attributes:
        config: Its config.
        lines: Lines of ``scalars.json``.
        text: Its log.
        resumed_at: Iteration of the checkpoint that it resumed from; 0 for a
            training that began.
    """

    config: Config
    lines: List[Dict[str, Any]]
    text: str
    resumed_at: int


def _read_start(file: Path, lines: List[Dict[str, Any]]) -> _Start:
    """Read the start that has this ``scalars.json``, with these lines."""
    path, folder = file.with_name('config.py'), file.parents[1]
    if not path.exists():
        raise ValueError(
            f'{path} does not exist: it is the config of the training in '
            f'{folder}'
        )
    try:
        config = Config.fromfile(path)
    except Exception as error:
        raise ValueError(
            f'{path}, the config of the training in {folder}, '
            f'cannot be read: {error}'
        ) from error
    logs = sorted(folder.glob('*.log'))
    text = ''.join(log.read_text(errors='replace') for log in logs)
    resumed = RESUMED.search(text)
    return _Start(config, lines, text, int(resumed[1]) if resumed else 0)


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


def _read_metrics(start: _Start, cfg: Config, epoch_length: int) -> Metrics:
    """Read the lines of validation.

    Lines of training have the iteration; other lines may share a step.
    """
    hooks = cfg.get('default_hooks') or {}
    logs_epochs = (hooks.get('logger') or {}).get('log_metric_by_epoch', True)
    every = cfg.train_cfg.get('val_interval', 1)
    found: Metrics = {}
    now = start.resumed_at
    for line in start.lines:
        if 'iter' in line:
            now = line['iter']
        elif 'time' in line and not logs_epochs:
            found[line['step']] = line
        elif 'time' in line and epoch_length:
            found[line['step'] * epoch_length] = line
        elif 'time' in line:
            # Without epochs MMEngine logs each with step 0. They come every
            # so many iterations, of which not each has a line.
            last = max(found, default=start.resumed_at)
            found[max(ceil(now / every) * every, last + every)] = line
    return found
