"""Train common training (CT) and ST++ on the demo data and compare them.

Prints the accuracy of the main network and of each ordered subnet, and writes
it as JSON and PNG. Finished runs are reused, and stopped runs are resumed.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from run_logged import ROOT, run_logged, train_logged

from mmst.analysis.cost import measure_training_cost
from mmst.analysis.loafing import draw_loafing, format_loafing_table
from mmst.analysis.scores import MAIN, Scores, compute_mean_and_interval
from mmst.analysis.training_log import read_training_log

METRIC = 'accuracy/top1'
# In the order of Table 3, component by component; then variants of ST++.
LABELS = {
    'ct': 'CT',
    'st': 'ST',
    'st-sit': 'ST + SITrans',
    'st-l2': 'ST + KL- (l2)',
    'st-standardize': 'ST + KL-',
    'st-standardize-k3': 'ST + KL- + Snet3',
    'stpp': 'ST++',
    'stpp-min2': 'ST++ + InterSSR',
    'stpp-kl': 'ST++ (plain KL)',
    'stpp-stochastic': 'ST++ (stochastic)',
    'stpp-raw': 'ST++ (raw)',
    'stpp-running-stats': 'ST++ (running statistics)',
    'stpp-chained': 'ST++ (chained inputs)',
    'stpp-label': 'ST++ (labels)',
    'stpp-both': 'ST++ (labels and main network)',
}
#: Of a run, in its folder.
SCORES = Path('loafing/loafing.json')
# Settings are chosen on a part of the training images, so that the validation
# images stay unseen until the end.
TUNING_SPLIT = [
    'train_dataloader.dataset.ann_file=meta/tune_train.txt',
    'val_dataloader.dataset.ann_file=meta/tune_val.txt',
    'val_dataloader.dataset.data_prefix=train',
]


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--methods', nargs='+', choices=list(LABELS), default=['ct', 'stpp']
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument(
        '--tune',
        action='store_true',
        help='train on 3,200 of the training images, score on the other 800',
    )
    parser.add_argument(
        '--equal-cost',
        action='store_true',
        help='also train CT for as long as each method costs',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/demo, or work_dirs/demo_tune',
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
        default=[],
        metavar='KEY=VALUE',
        help='change values of the configs; needs a separate --work-dir',
    )
    parsed = parser.parse_args(args)
    if parsed.cfg_options and parsed.work_dir is None:
        parser.error(
            '--cfg-options needs --work-dir, to keep runs with other '
            'settings apart'
        )
    if parsed.equal_cost and 'ct' not in parsed.methods:
        parser.error(
            '--equal-cost compares with CT, and --methods has no ct: '
            f'{" ".join(parsed.methods)}'
        )
    if parsed.work_dir is None:
        parsed.work_dir = (
            ROOT / 'work_dirs' / ('demo_tune' if parsed.tune else 'demo')
        )
    return parsed


def find_config(method: str) -> str:
    """Find the config of a method, from the repository's root."""
    return f'configs/demo/resnet20_{method}_mnistm5k.py'


def list_options(
    seed: int, epochs: Optional[int], args: argparse.Namespace
) -> List[str]:
    """List the arguments of a training, apart from config and folder."""
    options = [
        '--cfg-options',
        f'randomness.seed={seed}',
        *(TUNING_SPLIT if args.tune else []),
        *args.cfg_options,
    ]
    if epochs is not None:
        options += [
            f'train_cfg.max_epochs={epochs}',
            f'train_cfg.val_interval={epochs}',
        ]
    return options


def train_and_score(
    method: str,
    seed: int,
    args: argparse.Namespace,
    epochs: Optional[int] = None,
) -> Scores:
    """Train and score a network and its subnets, or reuse the results.

    Args:
        method: A key of ``LABELS``.
        seed: The seed.
        args: The command line.
        epochs: The length; default: the config's.
    """
    config = find_config(method)
    run, label = method, LABELS[method]
    if epochs is not None:
        run, label = f'{run}-{epochs}epochs', f'{label} of {epochs} epochs'
    folder = args.work_dir.resolve() / run / f'seed{seed}'
    if not (folder / SCORES).exists():
        name = f'{label} seed {seed}'
        options = list_options(seed, epochs, args)
        train_logged(name, config, folder, options)
        score_subnets(name, label, config, folder, options)
    return read_scores(folder)


def score_main(
    name: str, config: str, folder: Path, options: Sequence[str]
) -> float:
    """Read the accuracy of the main network at the end of a training.

    A run that was stopped after its last checkpoint does not validate when it
    is resumed: then the accuracy is measured here.

    Args:
        name: What its lines on the screen begin with.
        config: The config, from the repository's root.
        folder: Of the training.
        options: More arguments, those of the training.

    Returns:
        float: In percent.
    """
    log = read_training_log(str(folder))
    if log.iterations in log.metrics:
        return round(float(log.metrics[log.iterations][METRIC]), 4)
    if not (folder / SCORES).exists():
        score_subnets(name, name, config, folder, options)
    return read_scores(folder)[MAIN]


def score_subnets(
    name: str, label: str, config: str, folder: Path, options: Sequence[str]
) -> None:
    """Score the main network and its subnets after the last epoch.

    Args:
        name: As of :func:`score_main`, like all but the label.
        label: The method's, in the picture.
        config: The config.
        folder: Where the scores are written too.
        options: More arguments.
    """
    run_logged(
        name,
        [
            sys.executable,
            'tools/analysis_tools/loafing.py',
            '--run',
            label,
            config,
            (folder / 'last_checkpoint').read_text(),
            '--metric',
            METRIC,
            '--out',
            str((folder / SCORES).parent),
            *options,
        ],
        folder / 'output.txt',
    )


def read_scores(folder: Path) -> Scores:
    """Read what :func:`score_subnets` wrote."""
    (scores,) = json.loads((folder / SCORES).read_text())['results'].values()
    return scores[0]


def print_gain(results: Dict[str, List[Scores]]) -> None:
    """List what each method adds to CT's main network, seed by seed."""
    for method in results:
        if method != LABELS['ct'] and LABELS['ct'] in results:
            gains = [
                ours[MAIN] - ct[MAIN]
                for ours, ct in zip(results[method], results[LABELS['ct']])
            ]
            mean, half = compute_mean_and_interval(gains)
            print(
                f'{method} main network minus CT: {mean:+.2f} points'
                + (
                    f' +- {half:.2f}'
                    if len(gains) > 1
                    else ' (one seed: within the noise below about one point)'
                )
            )


def compare_costs(args: argparse.Namespace) -> Dict[str, Dict[str, Any]]:
    """Find what each method's training costs, and what CT reaches for that.

    Returns:
        Dict[str, Dict]: By method: its cost in units of CT's, CT's length in
        epochs for as much, and with ``--equal-cost`` CT's scores after
        these, seed by seed. Empty without a run of CT.
    """
    if 'ct' not in args.methods:
        return {}
    costs = {
        LABELS[method]: measure_training_cost(
            read_training_log(
                str(args.work_dir / method / f'seed{args.seeds[0]}')
            ),
            METRIC,
        )
        for method in args.methods
    }
    ct = costs.pop(LABELS['ct'])
    compared: Dict[str, Dict[str, Any]] = {}
    for method, cost in costs.items():
        ratio = cost.flops / ct.flops
        epochs = round(ratio * ct.epochs[-1])
        compared[method] = dict(ratio=ratio, epochs=epochs)
    if args.equal_cost:
        # Methods of equal cost share their runs of CT.
        runs = sorted(
            {
                (cost['epochs'], seed)
                for cost in compared.values()
                for seed in args.seeds
            }
        )
        with ThreadPoolExecutor(args.jobs) as pool:
            found = pool.map(
                lambda run: train_and_score('ct', run[1], args, run[0]), runs
            )
            scores = dict(zip(runs, found))
        for cost in compared.values():
            cost['scores'] = [scores[cost['epochs'], s] for s in args.seeds]
    return compared


def print_costs(
    costs: Dict[str, Dict[str, Any]], results: Dict[str, List[Scores]]
) -> None:
    """List what :func:`compare_costs` found."""
    for method, cost in costs.items():
        report = (
            f'{method} costs {cost["ratio"]:.2f} times as much as CT, by '
            'multiply-adds. At equal cost it has to beat CT of '
            f'{cost["epochs"]} epochs'
        )
        if 'scores' in cost:
            reached, _ = compute_mean_and_interval(
                [scores[MAIN] for scores in cost['scores']]
            )
            ours, _ = compute_mean_and_interval(
                [scores[MAIN] for scores in results[method]]
            )
            report += (
                f', which reaches {reached:.2f} %: {ours - reached:+.2f} '
                f'points for {method}'
            )
        print(report)


def main(args: Optional[Sequence[str]] = None) -> None:
    """Train and score all runs, then print and write the results."""
    parsed = parse_args(args)
    runs = [
        (method, seed) for seed in parsed.seeds for method in parsed.methods
    ]
    print(
        f'{len(runs)} runs, {parsed.jobs} at a time; '
        f'logs in {parsed.work_dir}',
        flush=True,
    )
    with ThreadPoolExecutor(parsed.jobs) as pool:
        scores = list(
            pool.map(lambda run: train_and_score(*run, parsed), runs)
        )
    results: Dict[str, List[Scores]] = {}
    for (method, _), score in zip(runs, scores):
        results.setdefault(LABELS[method], []).append(score)
    seeds = (
        f'seed {parsed.seeds[0]}'
        if len(parsed.seeds) == 1
        else (f'mean and 95 % interval over seeds {parsed.seeds}')
    )
    print(f'\n{METRIC} (%), {seeds}\n{format_loafing_table(results)}\n')
    print_gain(results)
    costs = compare_costs(parsed)
    print_costs(costs, results)
    paths = [parsed.work_dir / f'demo.{kind}' for kind in ('json', 'png')]
    paths[0].write_text(
        json.dumps(
            dict(
                metric=METRIC,
                seeds=parsed.seeds,
                results=results,
                costs=costs,
            ),
            indent=1,
        )
    )
    draw_loafing(results, f'{METRIC} (%)').savefig(paths[1], dpi=150)
    print('\nWritten:')
    for path in [*paths, *(parsed.work_dir / m / f'seed{s}' for m, s in runs)]:
        print(f'  {path}')


if __name__ == '__main__':
    main()
