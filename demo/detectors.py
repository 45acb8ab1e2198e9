"""Compare a detector's subnets with detectors of their depths.

Fine-tunes the FCOS of demo/downstream.py on the digit scenes: with
subnets of all depths (ST*), and without any, where each depth has a detector
of its own that starts from the same subnet of the pretrained backbone. Those
are trained for as many epochs as ST*, and for an equal part of its time each.
Finished runs are reused, and stopped runs are resumed.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import run_logged
from downstream import PRETRAIN, read_iteration_time, read_last_metrics, train
from downstream_frameworks import FRAMEWORKS, Options
from run_logged import ROOT

from mmst.analysis.loafing import draw_loafing, format_loafing_table
from mmst.analysis.scores import MAIN, Scores

FRAMEWORK = FRAMEWORKS['fcos']
METRIC = 'coco/bbox_mAP'
#: Blocks of each stage, and the depth of the ResNet that has them.
NETWORKS = {'1-1-1-1': 10, '1-2-2-1': 14, '2-2-2-2': 18}
WHOLE = '2-2-2-2'
STAR = 'ST*'
#: Changes of the pretraining's config.
PRETRAINING: Options = {'randomness.seed': 0}


class Training(NamedTuple):
    """A fine-tuning of a network alone, or of all together (``ST*``)."""

    network: str
    seed: int
    epochs: int

    @property
    def method(self) -> str:
        """Its method in the names of the configs."""
        return 'st-star' if self.network == STAR else 'st'


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument(
        '--work-dir', type=Path, default=ROOT / 'work_dirs' / 'demo_detectors'
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for the scores and the picture; default: --work-dir',
    )
    run_logged.add_jobs(parser)
    parsed = parser.parse_args(args)
    parsed.work_dir = parsed.work_dir.resolve()
    parsed.out = parsed.out or parsed.work_dir
    return parsed


def find_folder(training: Training, work_dir: Path) -> Path:
    """Find the work directory of a fine-tuning."""
    name = 'st-star' if training.network == STAR else training.network
    return work_dir / name / f'{training.epochs}epochs/seed{training.seed}'


def cut_backbones(work_dir: Path) -> Dict[str, Path]:
    """Pretrain; export the subnets from which the detectors alone start.

    Returns:
        Dict[str, Path]: The weights of each network.
    """
    folder = work_dir / 'pretrain'
    whole = train('pretraining', PRETRAIN, folder, PRETRAINING)
    weights = {WHOLE: Path(whole)}
    for network in set(NETWORKS) - {WHOLE}:
        out = work_dir / 'backbones' / network
        if not out.exists():
            command = [sys.executable, 'tools/export_subnet.py', PRETRAIN]
            command += [whole, '--depths', network, '--out', str(out)]
            command += run_logged.format_options(PRETRAINING)
            log = folder / 'output.txt'
            run_logged.run_logged(f'export {network}', command, log)
        (weights[network],) = out.glob('*.pth')
    return weights


def write_configs(work_dir: Path) -> None:
    """Write the methods' configs: a stock one each, and what it imports."""
    for method in ('st', 'st-star'):
        base = ROOT / 'configs' / FRAMEWORK.config.format(method)
        (work_dir / f'{method}.py').write_text(
            f'_base_ = {str(base)!r}\n'
            "custom_imports = dict(imports=['mmst', 'short_resnet'])\n"
        )


def list_options(training: Training, weights: Dict[str, Path]) -> Options:
    """List what a fine-tuning changes in its config."""
    network, seed, epochs = training
    more = FRAMEWORK.list_options(training.method, epochs)
    if network == STAR:
        network = WHOLE
        # The settings that served the family of classifiers.
        more['custom_hooks.0.space'] = [2, 2, 2, 2]
        more['custom_hooks.0.size_range'] = None
    if network != WHOLE:
        more['model.backbone.type'] = 'ShortResNet'
        more['model.backbone.depth'] = NETWORKS[network]
    return {
        **more,
        'model.backbone.init_cfg.checkpoint': weights[network],
        'randomness.seed': seed,
    }


def fine_tune(
    training: Training, weights: Dict[str, Path], work_dir: Path
) -> Scores:
    """Fine-tune a detector once; return its box AP, and that of its subnets.

    In %. A detector with all blocks has the others as subnets, whether they
    were trained or not.
    """
    network, seed, epochs = training
    name = f'{network}, {epochs} epochs, seed {seed}'
    config = str(work_dir / f'{training.method}.py')
    folder = find_folder(training, work_dir)
    options = list_options(training, weights)
    checkpoint = train(name, config, folder, options)
    if network not in (STAR, WHOLE) or epochs != FRAMEWORK.length:
        (score,) = read_last_metrics(folder, [METRIC])
        return {network: round(score, 4)}
    if not (folder / 'loafing').exists():
        flags = ['--run', name, config, checkpoint]
        flags += ['--depths', *NETWORKS, '--num-samples', '400']
        run_logged.analyse('loafing', flags, METRIC, name, folder, options)
    written = json.loads((folder / 'loafing/loafing.json').read_text())
    ((scores,),) = written['results'].values()
    scores[WHOLE] = scores.pop(MAIN)
    return {name: round(100 * score, 4) for name, score in scores.items()}


def fine_tune_all(
    trainings: List[Training],
    weights: Dict[str, Path],
    args: argparse.Namespace,
) -> Dict[str, List[Scores]]:
    """Fine-tune several at a time; return scores by network, one a seed."""
    found = run_logged.run_all(
        lambda training: fine_tune(training, weights, args.work_dir),
        trainings,
        args,
    )
    scores: Dict[str, List[Scores]] = {}
    for training, each in zip(trainings, found):
        scores.setdefault(training.network, []).append(each)
    return scores


def find_equal_lengths(args: argparse.Namespace) -> Dict[str, Any]:
    """Find how long each detector alone has to be for a part of ST*'s time.

    By the time of iterations, as in demo/downstream.py; of the seeds it is the
    median, since one may have run beside other work.

    Returns:
        Dict[str, Any]: ``seconds`` of an iteration of each network and of
        ``ST*``, seed by seed, and ``epochs`` of each network.
    """
    seconds = {
        name: [
            read_iteration_time(
                find_folder(
                    Training(name, seed, FRAMEWORK.length), args.work_dir
                )
            )
            for seed in args.seeds
        ]
        for name in (STAR, *NETWORKS)
    }
    epochs = {
        name: round(
            FRAMEWORK.length
            * np.median(np.divide(seconds[STAR], seconds[name]))
            / len(NETWORKS)
        )
        for name in NETWORKS
    }
    return dict(seconds=seconds, epochs=epochs)


def merge(scores: Dict[str, List[Scores]]) -> List[Scores]:
    """Put the scores of each network alone together, seed by seed."""
    return [
        {network: one[network] for network, one in zip(scores, seed)}
        for seed in zip(*scores.values())
    ]


def main(args: Optional[Sequence[str]] = None) -> None:
    """Pretrain, fine-tune, then print, draw and write the results."""
    parsed = parse_args(args)
    weights = cut_backbones(parsed.work_dir)
    write_configs(parsed.work_dir)
    length = FRAMEWORK.length
    scores = fine_tune_all(
        [
            Training(network, seed, length)
            for seed in parsed.seeds
            for network in (STAR, *NETWORKS)
        ],
        weights,
        parsed,
    )
    costs = find_equal_lengths(parsed)
    shorter = fine_tune_all(
        [
            Training(network, seed, costs['epochs'][network])
            for seed in parsed.seeds
            for network in NETWORKS
        ],
        weights,
        parsed,
    )
    results = {
        STAR: scores.pop(STAR),
        'the same subnets without ST*': scores[WHOLE],
        f'alone, {length} epochs': merge(scores),
        f'alone, 1/{len(NETWORKS)} of the time of ST*': merge(shorter),
    }
    print(
        f'box AP in %, mean and 95 % interval over seeds {parsed.seeds}\n'
        f'{format_loafing_table(results)}\n'
        f'epochs of that time: {costs["epochs"]}'
    )
    parsed.out.mkdir(parents=True, exist_ok=True)
    path = parsed.out / 'detectors.json'
    written = dict(metric=METRIC, seeds=parsed.seeds, results=results, **costs)
    path.write_text(json.dumps(written, indent=1) + '\n')
    picture = path.with_suffix('.png')
    draw_loafing(results, 'box AP (%)').savefig(picture, dpi=150)
    print(f'Written: {path}\nDrawn in {picture}')


if __name__ == '__main__':
    main()
