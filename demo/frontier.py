"""Set the accuracy of CT and ST++ against the cost of training (Fig. 9).

Trains a ResNet-20 on the two-digit numbers in several ways, for several
lengths and seeds, and sets the accuracy of the main network against the
multiply-adds of the whole training and its CPU time. Finished runs are kept in
a JSON file, and what it has is not trained again; what was stopped goes on.
"""

import argparse
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from classification import METRIC, TUNING_SPLIT
from frontier_arms import ARMS, FRONTIER, PLAIN
from frontier_report import Run, draw_frontier, format_frontier
from mmengine.config import Config, DictAction
from run_logged import ROOT, train_logged

from mmst.analysis.cost import measure_training_cost
from mmst.analysis.training_log import TrainingLog, read_training_log

#: Lengths in epochs. Those of CT cost what ST++ of one size does for 10, 20,
#: 40 and 80 epochs with shared prefixes, 2.3 times plain training, and what
#: ST++ does for 20 epochs with passes apart.
LENGTHS = {PLAIN: (10, 20, 23, 46, 63, 92, 184)}
ST_LENGTHS = (10, 20, 40, 80)
LABELS = {name: arm.label for name, arm in ARMS.items()}


class Job(NamedTuple):
    """One training to do.

    Attributes:
        arm: A key of ``ARMS``.
        epochs: Its length.
        seed: Its seed.
    """

    arm: str
    epochs: int
    seed: int

    @property
    def config(self) -> str:
        """The config, from the repository's root."""
        method = ARMS[self.arm].method
        return f'configs/demo/resnet20_{method}_numbers10k.py'

    @property
    def options(self) -> Dict[str, Any]:
        """What the arm, the length and the seed change in it."""
        options = {
            **ARMS[self.arm].options,
            'train_cfg.max_epochs': self.epochs,
            'train_cfg.val_interval': self.epochs,
            'randomness.seed': self.seed,
        }
        if self.arm == 'stpp-late':
            options['custom_hooks.0.begin'] = self.epochs // 2
        return options


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--arms',
        nargs='+',
        choices=list(ARMS),
        default=list(FRONTIER),
        metavar='ARM',
        help=f'some of {", ".join(ARMS)}; default: {", ".join(FRONTIER)}',
    )
    parser.add_argument(
        '--epochs',
        nargs='+',
        type=int,
        help='numbers of epochs; default: for CT '
        f'{" ".join(map(str, LENGTHS[PLAIN]))}, for the others '
        f'{" ".join(map(str, ST_LENGTHS))}',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument(
        '--report',
        action='store_true',
        help='do not train; print and draw existing results',
    )
    parser.add_argument(
        '--tune',
        action='store_true',
        help='train on 6,400 of the training images, score on the other 1,600',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for frontier.json and frontier.png; default: resources, '
        'or work_dirs/frontier_tune',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/frontier, or work_dirs/frontier_tune',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=os.cpu_count(),
        help='parallel runs, one thread each; default: one per core',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='change values of the configs; needs a separate --work-dir '
        'and --out',
    )
    parsed = parser.parse_args(args)
    if parsed.cfg_options and None in (parsed.work_dir, parsed.out):
        parser.error(
            '--cfg-options needs --work-dir and --out, so that runs with '
            'other settings are not taken for these'
        )
    name = 'frontier_tune' if parsed.tune else 'frontier'
    if parsed.work_dir is None:
        parsed.work_dir = ROOT / 'work_dirs' / name
    if parsed.out is None:
        parsed.out = (
            ROOT / 'work_dirs' / name if parsed.tune else ROOT / 'resources'
        )
    return parsed


def plan_jobs(args: argparse.Namespace) -> List[Job]:
    """All that was asked for, seed by seed, the shortest first."""
    return sorted(
        (
            Job(arm, epochs, seed)
            for arm in args.arms
            for epochs in args.epochs or LENGTHS.get(arm, ST_LENGTHS)
            for seed in args.seeds
        ),
        key=lambda job: (job.seed, job.epochs),
    )


def train(job: Job, args: argparse.Namespace) -> Run:
    """Train, resume, or reuse an existing run.

    Args:
        job: What to train.
        args: The command line.
    """
    folder = args.work_dir.resolve() / job.arm / f'{job.epochs}epochs'
    folder /= f'seed{job.seed}'
    is_whole = not folder.exists()
    options = {**job.options, **args.cfg_options}
    seconds = train_logged(
        f'{ARMS[job.arm].label}, {job.epochs} epochs, seed {job.seed}',
        job.config,
        folder,
        [
            '--cfg-options',
            *(f'{key}={value}' for key, value in options.items()),
            *(TUNING_SPLIT if args.tune else []),
        ],
    )
    log = read_training_log(str(folder))
    return Run(
        *job,
        round(float(log.metrics[log.iterations][METRIC]), 4),
        log.iterations,
        round(seconds, 1) if is_whole else None,
        read_processor(),
    )


def read_processor() -> str:
    """Name of this machine's processor; '' where it is not told."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    names = [line for line in lines if line.startswith('model name')]
    return names[0].partition(':')[2].strip() if names else ''


def count_cost(run: Run, args: argparse.Namespace) -> Run:
    """The run with its multiply-adds, by the cost model as it is now."""
    job = Job(run.arm, run.epochs, run.seed)
    config = Config.fromfile(ROOT / job.config)
    config.merge_from_dict({**job.options, **args.cfg_options})
    log = TrainingLog(
        config,
        1,
        run.iterations // run.epochs,
        run.iterations,
        {run.iterations: {METRIC: run.score}},
    )
    return run._replace(multiply_adds=measure_training_cost(log, METRIC).flops)


def read_runs(path: Path, args: argparse.Namespace) -> Dict[Job, Run]:
    """Read the runs that are done."""
    if not path.exists():
        return {}
    runs = [Run(**run) for run in json.loads(path.read_text())['runs']]
    return {Job(*run[:3]): count_cost(run, args) for run in runs}


def write_report(runs: Sequence[Run], folder: Path) -> None:
    """Write the runs, one a line so that additions are easy to see."""
    picture = io.BytesIO()
    draw_frontier(runs, LABELS).savefig(picture, format='png', dpi=150)
    lines = ',\n'.join(json.dumps(run._asdict()) for run in sorted(runs))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'frontier.json').write_text(
        f'{{"metric": "{METRIC}", "runs": [\n{lines}\n]}}\n'
    )
    (folder / 'frontier.png').write_bytes(picture.getvalue())


def main(args: Optional[Sequence[str]] = None) -> None:
    """Train what is missing, then print and draw all that there is."""
    parsed = parse_args(args)
    runs = read_runs(parsed.out / 'frontier.json', parsed)
    jobs = [] if parsed.report else plan_jobs(parsed)
    missing = [job for job in jobs if job not in runs]
    print(
        f'{len(runs)} runs are done, {len(missing)} to do, {parsed.jobs} at a '
        f'time; logs in {parsed.work_dir}',
        flush=True,
    )
    with ThreadPoolExecutor(parsed.jobs) as pool:
        for future in as_completed(
            [pool.submit(train, job, parsed) for job in missing]
        ):
            run = count_cost(future.result(), parsed)
            runs[Job(*run[:3])] = run
            write_report(list(runs.values()), parsed.out)
    if not runs:
        raise SystemExit('no run is done yet')
    write_report(list(runs.values()), parsed.out)
    print(format_frontier(list(runs.values()), LABELS, PLAIN))
    processors = {run.processor for run in runs.values()}
    if len(processors) > 1:
        print(f'Trained on several processors: {sorted(processors)}')
    print(f'Written to {parsed.out}/frontier.json and frontier.png')


if __name__ == '__main__':
    main()
