"""Fine-tune on the digit scenes, without (ST) and with subnets (ST*).

Runs small versions of the configs in configs/st_det, st_seg and st_pose: a
narrow ResNet-18, pretrained with ST on the demo data, narrow heads and a short
schedule. Prints each framework's metrics, and what ST reaches in the time that
ST* takes, and writes them as JSON. Finished runs are reused, and stopped runs
are resumed.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from downstream_frameworks import FRAMEWORKS, Options
from run_logged import ROOT, add_jobs, run_all, train_logged

from mmst.analysis.scores import format_mean
from mmst.analysis.training_log import read_training_log

METHODS = {'st': 'ST', 'st-star': 'ST*'}
PRETRAIN = 'configs/demo/resnet18_st_mnistm5k.py'

# framework -> metric -> method -> a value for each seed, in %
Results = Dict[str, Dict[str, Dict[str, List[float]]]]


class Run(NamedTuple):
    """A fine-tuning; its length is in the framework's unit."""

    name: str
    method: str
    seed: int
    length: int

    def find_folder(self, work_dir: Path) -> Path:
        """Find its folder: one of its own for each length."""
        framework = FRAMEWORKS[self.name]
        method = self.method
        if self.length != framework.length:
            method += f'-{self.length}{framework.unit}'
        return work_dir / self.name / method / f'seed{self.seed}'


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--frameworks',
        nargs='+',
        choices=list(FRAMEWORKS),
        default=['mask-rcnn', 'semantic-fpn', 'simple-baseline'],
    )
    parser.add_argument(
        '--methods', nargs='+', choices=list(METHODS), default=list(METHODS)
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument(
        '--equal-cost',
        action='store_true',
        help='also fine-tune without subnets for the time that ST* takes',
    )
    parser.add_argument(
        '--work-dir', type=Path, default=ROOT / 'work_dirs' / 'demo_downstream'
    )
    add_jobs(parser)
    parsed = parser.parse_args(args)
    if parsed.equal_cost and set(parsed.methods) != set(METHODS):
        parser.error(
            '--equal-cost compares ST* with ST, and --methods has only '
            f'{" ".join(parsed.methods)}'
        )
    parsed.work_dir = parsed.work_dir.resolve()
    return parsed


def train(name: str, config: str, folder: Path, options: Options) -> str:
    """Train, or reuse an existing run; return the last checkpoint."""
    done = folder / 'done'
    if not done.exists():
        train_logged(name, config, folder, options)
        done.touch()
    return (folder / 'last_checkpoint').read_text()


def read_last_metrics(folder: Path, metrics: Sequence[str]) -> List[float]:
    """Read metrics of a run's last validation, in %.

    Raises:
        ValueError: If it did not validate at its end.
    """
    log = read_training_log(str(folder))
    scores = log.metrics.get(log.iterations, {})
    for metric in metrics:
        if metric not in scores:
            raise ValueError(
                f'{folder} has no {metric} at its end: nothing was detected, '
                'or the run was stopped between its last checkpoint and its '
                'validation. Then delete the folder and start again: the '
                'other runs are kept'
            )
    # COCO's AP is a fraction; PQ and mIoU are in % already.
    return [
        scores[metric] * (100 if metric.startswith('coco/') else 1)
        for metric in metrics
    ]


def fine_tune(run: Run, backbone: str, work_dir: Path) -> List[float]:
    """Fine-tune a framework once; return its metrics in %."""
    framework = FRAMEWORKS[run.name]
    folder = run.find_folder(work_dir)
    options = {
        **framework.list_options(run.method, run.length),
        'model.backbone.init_cfg.checkpoint': backbone,
        'randomness.seed': run.seed,
    }
    train(
        f'{run.name} {METHODS[run.method]} {run.length} {framework.unit} '
        f'seed {run.seed}',
        'configs/' + framework.config.format(run.method),
        folder,
        options,
    )
    return read_last_metrics(folder, framework.metrics)


def fine_tune_all(
    runs: List[Run], backbone: str, args: argparse.Namespace
) -> Results:
    """Fine-tune several at a time; return their metrics in %."""
    values = run_all(
        lambda run: fine_tune(run, backbone, args.work_dir), runs, args
    )
    results: Results = {}
    for run, run_values in zip(runs, values):
        for metric, value in zip(FRAMEWORKS[run.name].metrics, run_values):
            methods = results.setdefault(run.name, {}).setdefault(metric, {})
            methods.setdefault(run.method, []).append(value)
    return results


def read_iteration_time(folder: Path) -> float:
    """Read an iteration's seconds: the median of the lines of all starts."""
    lines = [
        json.loads(line)
        for file in folder.glob('*/vis_data/scalars.json')
        for line in file.read_text().splitlines()
    ]
    return median(line['time'] for line in lines if 'lr' in line)


def find_equal_lengths(args: argparse.Namespace) -> Dict[str, Dict[str, Any]]:
    """Find how long ST has to be to take as long as ST*.

    By time, since heads and losses are a good part of it, which a count of
    the backbone's FLOPs leaves out.

    Returns:
        Dict[str, Dict]: By framework: ``ratio`` of an ST* iteration's time to
        an ST iteration's, seed by seed, and the ``length``.
    """
    lengths: Dict[str, Dict[str, Any]] = {}
    for name in args.frameworks:
        length = FRAMEWORKS[name].length
        ratios = []
        for seed in args.seeds:
            st, st_star = (
                read_iteration_time(
                    Run(name, method, seed, length).find_folder(args.work_dir)
                )
                for method in ('st', 'st-star')
            )
            ratios.append(round(st_star / st, 3))
        lengths[name] = dict(
            ratio=ratios, length=round(length * np.mean(ratios))
        )
    return lengths


def format_table(results: Results, costs: Dict[str, Dict[str, Any]]) -> str:
    """Format frameworks against methods, and what ST* adds per seed."""
    lines = []
    for name, metrics in results.items():
        for metric, methods in metrics.items():
            cells = [
                f'{METHODS[method]} {format_mean(values)}'
                for method, values in methods.items()
            ]
            if len(methods) == 2:
                gain = np.subtract(methods['st-star'], methods['st'])
                cells.append(f'ST* - ST {format_mean(gain, sign="+")}')
            if name in costs:
                longer = costs[name]['scores'][metric]
                gain = np.subtract(methods['st-star'], longer)
                cells += [
                    f'ST of {costs[name]["length"]} {FRAMEWORKS[name].unit} '
                    f'{format_mean(longer)}',
                    f'ST* - that {format_mean(gain, sign="+")}',
                ]
            lines.append(f'{name:<16} {metric:<16} ' + '   '.join(cells))
    return '\n'.join(lines)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Pretrain, fine-tune, then print and write the results."""
    parsed = parse_args(args)
    backbone = train(
        'pretraining',
        PRETRAIN,
        parsed.work_dir / 'pretrain',
        {'randomness.seed': 0},
    )
    results = fine_tune_all(
        [
            Run(name, method, seed, FRAMEWORKS[name].length)
            for seed in parsed.seeds
            for name in parsed.frameworks
            for method in parsed.methods
        ],
        backbone,
        parsed,
    )
    costs: Dict[str, Dict[str, Any]] = {}
    if parsed.equal_cost:
        costs = find_equal_lengths(parsed)
        longer = [
            Run(name, 'st', seed, cost['length'])
            for seed in parsed.seeds
            for name, cost in costs.items()
        ]
        for name, metrics in fine_tune_all(longer, backbone, parsed).items():
            costs[name]['scores'] = {m: v['st'] for m, v in metrics.items()}
    print(
        f'\nmean and 95 % interval over seeds {parsed.seeds}\n'
        f'{format_table(results, costs)}'
    )
    for name, cost in costs.items():
        print(f'{name}: an ST* iteration takes {cost["ratio"]} times as long')
    path = parsed.work_dir / 'demo_downstream.json'
    path.write_text(
        json.dumps(
            dict(seeds=parsed.seeds, results=results, costs=costs), indent=1
        )
    )
    print(f'\nWritten: {path}')


if __name__ == '__main__':
    main()
