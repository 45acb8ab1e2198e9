"""Set the accuracy of CT and ST++ against the cost of training (Fig. 9).

Trains a ResNet-20 on the two-digit numbers in several ways, for several
lengths and seeds, and sets the accuracy of the main network against the
multiply-adds of the whole training and its CPU time. Finished runs are kept in
a JSON file and reused; stopped runs are resumed.
"""

import argparse
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence

from classification import METRIC, TUNING_SPLIT
from frontier_arms import COMPARISONS, PLAIN
from frontier_report import (
    Run,
    draw_frontier,
    format_frontier,
    format_parts,
)
from frontier_runs import Job, train
from mmengine.config import Config, DictAction
from run_logged import ROOT

from mmst.analysis.cost import measure_training_cost
from mmst.analysis.training_log import TrainingLog


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--of',
        choices=list(COMPARISONS),
        default='resnet20',
        help='what is compared: trainings of a ResNet-20, of a small ViT, or '
        'its pretraining',
    )
    names = {
        network: f'{", ".join(comparison.arms)} of {network}'
        for network, comparison in COMPARISONS.items()
    }
    parser.add_argument(
        '--arms',
        nargs='+',
        metavar='ARM',
        help=f'some of {", or ".join(names.values())}; default: all but parts '
        'and variants',
    )
    parser.add_argument(
        '--epochs',
        nargs='+',
        type=int,
        help='numbers of epochs; default: several, by arm',
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
        help='train on four fifths of the training images, score on the rest',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for the scores and the picture; default: resources',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/frontier, and others for --of and --tune',
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
            '--cfg-options needs --work-dir and --out, to keep runs with '
            'other settings apart'
        )
    arms = COMPARISONS[parsed.of].arms
    for arm in parsed.arms or ():
        if arm not in arms:
            parser.error(f'--arms: {arm!r} is none of {", ".join(arms)}')
    parsed.name = 'frontier'
    if parsed.of != 'resnet20':
        parsed.name += f'_{parsed.of}'
    if parsed.tune:
        parsed.name += '_tune'
    if parsed.work_dir is None:
        parsed.work_dir = ROOT / 'work_dirs' / parsed.name
    if parsed.out is None:
        parsed.out = ROOT / 'resources'
    return parsed


def plan_jobs(args: argparse.Namespace) -> List[Job]:
    """Plan all requested jobs, seed by seed, the shortest first."""
    comparison = COMPARISONS[args.of]
    lengths = comparison.epochs
    return sorted(
        (
            Job(arm, epochs, seed, args.of)
            for arm in args.arms or comparison.default
            for epochs in args.epochs or lengths.get(arm, lengths[''])
            for seed in args.seeds
        ),
        key=lambda job: (job.seed, job.epochs),
    )


def train_in_place(job: Job, args: argparse.Namespace) -> Run:
    """Train in the folder and with the options that the command line has."""
    folder = args.work_dir.resolve() / job.arm / f'{job.epochs}epochs'
    changes = [f'{key}={value}' for key, value in args.cfg_options.items()]
    return train(
        job,
        folder / f'seed{job.seed}',
        [*changes, *(TUNING_SPLIT if args.tune else [])],
    )


def count_costs(runs: Iterable[Run], args: argparse.Namespace) -> List[Run]:
    """Add the runs' multiply-adds, by the cost model as it is now.

    Seeds cost the same, so that one of them is counted.
    """
    counted, costs = [], {}
    for run in runs:
        kind = run.arm, run.epochs, run.iterations
        if kind not in costs:
            costs[kind] = count_multiply_adds(run, args)
        counted.append(run._replace(multiply_adds=costs[kind]))
    return counted


def count_multiply_adds(run: Run, args: argparse.Namespace) -> float:
    """Count the multiply-adds of a whole training."""
    job = Job(*run[:3], args.of)
    config = Config.fromfile(ROOT / job.config)
    options = {**job.options, **args.cfg_options}
    # A pretraining has no validation to change, and it costs nothing here.
    config.merge_from_dict(
        {k: v for k, v in options.items() if not k.startswith('val_')}
    )
    log = TrainingLog(
        config,
        1,
        run.iterations // run.epochs,
        run.iterations,
        {run.iterations: {METRIC: run.score}},
    )
    return measure_training_cost(log, METRIC).flops


def read_runs(path: Path, of: str) -> Dict[Job, Run]:
    """Read the finished runs."""
    if not path.exists():
        return {}
    runs = [Run(**run) for run in json.loads(path.read_text())['runs']]
    return {Job(*run[:3], of): run for run in runs}


def write_report(runs: Sequence[Run], args: argparse.Namespace) -> None:
    """Write the runs, one per line, so that additions are easy to see.

    The picture is drawn where lengths and costs differ, of the arms whose
    cost is a matter of schedule: variants of one would only hide them.
    """
    comparison = COMPARISONS[args.of]
    picture = io.BytesIO()
    if not args.tune and comparison.is_drawn:
        drawn = [run for run in runs if run.arm in comparison.default]
        figure = draw_frontier(drawn or runs, label_arms(args))
        figure.savefig(picture, format='png', dpi=150)
    lines = ',\n'.join(
        json.dumps(
            {k: v for k, v in run._asdict().items() if k != 'parts' or v}
        )
        for run in sorted(runs)
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f'{args.name}.json').write_text(
        f'{{"metric": "{METRIC}", "runs": [\n{lines}\n]}}\n'
    )
    if picture.getvalue():
        (args.out / f'{args.name}.png').write_bytes(picture.getvalue())


def label_arms(args: argparse.Namespace) -> Dict[str, str]:
    """Map arms to their names in tables and pictures."""
    arms = COMPARISONS[args.of].arms
    return {name: arm.label for name, arm in arms.items()}


def main(args: Optional[Sequence[str]] = None) -> None:
    """Train what is missing, then print and draw all runs."""
    parsed = parse_args(args)
    path = parsed.out / f'{parsed.name}.json'
    runs = read_runs(path, parsed.of)
    jobs = [] if parsed.report else plan_jobs(parsed)
    missing = [job for job in jobs if job not in runs]
    print(
        f'{len(runs)} runs are done, {len(missing)} to do, {parsed.jobs} at a '
        f'time; logs in {parsed.work_dir}',
        flush=True,
    )
    with ThreadPoolExecutor(parsed.jobs) as pool:
        for future in as_completed(
            [pool.submit(train_in_place, job, parsed) for job in missing]
        ):
            run = future.result()
            cost = count_multiply_adds(run, parsed)
            # Another process may have finished some meanwhile.
            runs.update(read_runs(path, parsed.of))
            runs[Job(*run[:3], parsed.of)] = run._replace(multiply_adds=cost)
            write_report(list(runs.values()), parsed)
    if not runs:
        raise SystemExit('there are no finished runs yet')
    finished = count_costs(runs.values(), parsed)
    labels = label_arms(parsed)
    write_report(finished, parsed)
    print(format_frontier(finished, labels, PLAIN))
    parts = format_parts(finished, labels)
    if parts:
        print(f'\n{parts}\n')
    processors = {run.processor for run in finished}
    if len(processors) > 1:
        print(f'Trained on several processors: {sorted(processors)}')
    print(f'Written to {path}')


if __name__ == '__main__':
    main()
