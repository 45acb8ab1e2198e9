"""Compare ways of training at equal epochs and at equal cost.

Trains the arms of a comparison (arms.py) for several lengths and seeds, and
sets the accuracy of the main network, and of subnets, against the FLOPs of the
whole training (a multiply-add counts as one) and its CPU time. Finished runs
are kept in a JSON file and reused; stopped runs are resumed.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from arms import COMPARISONS, TUNING_SPLIT
from mmengine.config import Config, DictAction
from report import (
    Family,
    Run,
    draw_costs,
    draw_families,
    draw_gains,
    format_costs,
    format_family,
    format_parts,
    group_seeds,
)
from run_logged import ROOT, add_jobs, analyse, train_logged

from mmst.analysis.cost import measure_training_cost
from mmst.analysis.scores import MAIN, Scores, name_network
from mmst.analysis.training_log import read_training_log
from mmst.launch.configured_training import (
    build_backbone,
    find_trained_space,
    make_training_image,
)
from mmst.subnets import Subnet, find_stages, measure_cost

METRIC = 'accuracy/top1'
#: Arm, epochs and seed of a training.
Job = Tuple[str, int, int]


def share(text: str) -> Union[int, str]:
    """Read a value of --equal-cost."""
    if text == 'all':
        return text
    if int(text) < 1:
        raise ValueError
    return int(text)


def parse_args(args: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--of',
        choices=list(COMPARISONS),
        default='digits',
        help='what is compared: trainings of a ResNet-20 on digits, or on '
        'numbers of two digits; of a small ViT, or its pretraining (mae); a '
        "ResNet-32's subnets with networks trained alone (family)",
    )
    names = '; '.join(
        f'{k}: {", ".join(c.arms)}' for k, c in COMPARISONS.items()
    )
    parser.add_argument(
        '--arms',
        nargs='+',
        metavar='ARM',
        help=f'ways of training, of {names}. Default: some of them',
    )
    parser.add_argument(
        '--epochs',
        nargs='+',
        type=int,
        help='numbers of epochs; default: by comparison and arm',
    )
    parser.add_argument('--seeds', nargs='+', type=int, default=[0])
    parser.add_argument(
        '--equal-cost',
        nargs='*',
        type=share,
        metavar='N',
        help='also train without subnets for as many FLOPs as each arm, or '
        'for 1/N of them, where N networks share them; all: as many as there '
        'are subnets. Without N: 1, or for family 2 3 5 9 all',
    )
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
        '--work-dir',
        type=Path,
        help='default: work_dirs/demo, others for --of and --tune',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for the scores and the picture; default: --work-dir',
    )
    add_jobs(parser)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='change values of the configs; needs a separate --work-dir',
    )
    parsed = parser.parse_args(args)
    if parsed.cfg_options and parsed.work_dir is None:
        parser.error(
            '--cfg-options needs --work-dir, to keep runs with other '
            'settings apart'
        )
    comparison = COMPARISONS[parsed.of]
    parsed.arms = parsed.arms or comparison.default
    for arm in parsed.arms:
        if arm not in comparison.arms:
            arms = ', '.join(comparison.arms)
            parser.error(f'--arms: {arm!r} is none of {arms}')
    if parsed.equal_cost is not None and not {*comparison.plain} & {
        *parsed.arms
    }:
        parser.error(
            '--equal-cost compares with training without subnets, and --arms '
            f'has none of {", ".join(comparison.plain)}'
        )
    name = comparison.file + ('_tune' if parsed.tune else '')
    parsed.work_dir = parsed.work_dir or ROOT / 'work_dirs' / name
    parsed.path = (parsed.out or parsed.work_dir) / f'{name}.json'
    return parsed


def plan_jobs(args: argparse.Namespace) -> List[Job]:
    """Plan the jobs of equal epochs, seed by seed, the shortest first."""
    lengths = COMPARISONS[args.of].epochs
    return sorted(
        (
            (arm, epochs, seed)
            for arm in args.arms
            for epochs in args.epochs or lengths.get(arm, lengths[''])
            for seed in args.seeds
        ),
        key=lambda job: (job[2], job[1]),
    )


def plan_equal_cost(
    jobs: Sequence[Job], runs: Dict[Job, Run], args: argparse.Namespace
) -> List[Job]:
    """Plan the jobs of equal cost, given the finished ones of equal epochs."""
    plain = [arm for arm in COMPARISONS[args.of].plain if arm in args.arms]
    planned = {
        (arm, lengths[arm], job[2]): None
        for job in jobs
        if job[0] not in COMPARISONS[args.of].plain
        for lengths in match_lengths(runs[job], runs, args).values()
        for arm in plain
        if arm in lengths
    }
    return list(planned)


def match_lengths(
    run: Run, runs: Dict[Job, Run], args: argparse.Namespace
) -> Dict[str, Dict[str, int]]:
    """Match a training with subnets by such without.

    Returns:
        Dict[str, Dict[str, int]]: By what they are equal in, the epochs of
        each plain arm that was trained; without those of less than one.
    """
    plain = {
        arm: one
        for arm in list_rivals(run, args)
        for one in runs.values()
        if one.arm == arm
    }
    matched = {f'{run.epochs} epochs': dict.fromkeys(plain, run.epochs)}
    for number in args.equal_cost or COMPARISONS[args.of].shares:
        if number == 'all':
            config = read_config(run.arm, args)
            space = find_trained_space(config, build_backbone(config))
            number = space.num_ordered
        epochs = {
            arm: round(
                run.multiply_adds / number / one.multiply_adds * one.epochs
            )
            for arm, one in plain.items()
        }
        name = 'its FLOPs' if number == 1 else f'1/{number} of its FLOPs'
        matched[name] = {arm: n for arm, n in epochs.items() if n}
    return matched


def list_rivals(run: Run, args: argparse.Namespace) -> Sequence[str]:
    """List the plain arms that a training with subnets is compared with.

    Where these are networks of several sizes, those that it has as subnets.
    """
    plain = COMPARISONS[args.of].plain
    return [arm for arm in plain if arm in (run.parts or ())] or plain


def read_config(arm: str, args: argparse.Namespace) -> Config:
    """Read the config of an arm."""
    comparison = COMPARISONS[args.of]
    path = ROOT / comparison.find_config(comparison.arms[arm].method)
    config = Config.fromfile(path)
    options = comparison.list_options(arm, epochs=1, seed=0)
    config.merge_from_dict({**options, **args.cfg_options})
    return config


def train_missing(
    jobs: Sequence[Job], runs: Dict[Job, Run], args: argparse.Namespace
) -> None:
    """Train what is not finished, and write each run as soon as it is."""
    missing = [job for job in jobs if job not in runs]
    print(
        f'{len(jobs) - len(missing)} of {len(jobs)} runs are done; '
        f'{args.jobs} at a time, logs in {args.work_dir}',
        flush=True,
    )
    with ThreadPoolExecutor(args.jobs) as pool:
        for future in as_completed(
            [pool.submit(train, job, args) for job in missing]
        ):
            run = count_training_flops(future.result(), args)
            # Another process may have finished some meanwhile.
            runs.update(read_runs(args.path))
            runs[run[:3]] = run
            write_runs(runs, args.path)


def find_folder(job: Job, args: argparse.Namespace) -> Path:
    """Find the work directory of a training."""
    arm, epochs, seed = job
    return args.work_dir.resolve() / arm / f'{epochs}epochs' / f'seed{seed}'


def train(job: Job, args: argparse.Namespace) -> Run:
    """Train, resume, or reuse an existing run, and score it."""
    arm, epochs, seed = job
    comparison = COMPARISONS[args.of]
    way = comparison.arms[arm]
    config = comparison.find_config(way.method)
    folder = find_folder(job, args)
    is_whole = not folder.exists()
    name = f'{way.label}, {epochs} epochs, seed {seed}'
    more = {**args.cfg_options, **(TUNING_SPLIT if args.tune else {})}
    options = {**comparison.list_options(*job), **more}
    if comparison.followers:  # a pretraining validates nothing
        options = {k: v for k, v in options.items() if k[:4] != 'val_'}
    seconds = train_logged(name, config, folder, options)
    parts: Scores = {}
    for follower, method in comparison.followers.items():
        checkpoint = (folder / 'last_checkpoint').read_text()
        changes = {
            'model.backbone.init_cfg.checkpoint': checkpoint,
            'randomness.seed': seed,
            **more,
        }
        task = f'{name}, {follower}', comparison.find_config(method)
        train_logged(*task, folder / method, changes)
        scores = score(*task, folder / method, changes)
        parts[follower] = scores[MAIN]
    if not comparison.followers:
        scores = score(name, config, folder, options, arm in comparison.scored)
        parts = dict(scores) if arm in comparison.scored else {}
        networks = [n for n in comparison.plain if n in scores] or [arm]
        if comparison.sizes and comparison.plain[0] in networks:
            flags = [config, (folder / 'last_checkpoint').read_text()]
            flags += ['--depths', *networks, '--seconds', '0']
            flags += ['--sizes', *map(str, comparison.sizes)]
            found = analyse(
                'accuracy_cost', flags, METRIC, name, folder, options
            )
            parts.update(name_smaller(found['networks']))
    return Run(
        *job,
        round(scores[MAIN], 4),
        read_training_log(str(folder)).epoch_length * epochs,
        round(seconds, 1) if is_whole else None,
        read_processor(),
        parts=parts or None,
    )


def score(
    name: str,
    config: str,
    folder: Path,
    options: Dict[str, Any],
    subnets: bool = False,
) -> Scores:
    """Score the main network at the end of a training, and its subnets.

    Args:
        name: Prefix of its lines on the screen.
        config: The config, from the repository's root.
        folder: Work directory of the training.
        options: Changes of the config.
        subnets: Whether subnets are asked for. They come unasked where a run
            was stopped between its last checkpoint and its validation.
    """
    log = read_training_log(str(folder))
    last = log.metrics.get(log.iterations, {})
    if METRIC in last and not subnets:
        return {MAIN: float(last[METRIC])}
    files = config, (folder / 'last_checkpoint').read_text()
    flags = ['--run', name, *files]
    written = analyse('loafing', flags, METRIC, name, folder, options)
    ((scores,),) = written['results'].values()
    return {network: round(value, 4) for network, value in scores.items()}


def name_smaller(networks: List[Dict[str, Any]]) -> Scores:
    """Name the scores of networks on smaller images."""
    return {
        f'{name_network(network["depths"])} at {network["size"]} px': round(
            network['score'], 4
        )
        for network in networks
        if network['size'] is not None
    }


def count_training_flops(run: Run, args: argparse.Namespace) -> Run:
    """Add the FLOPs of the whole training, by the cost model."""
    log = read_training_log(str(find_folder(run[:3], args)))
    there = {run.iterations: {METRIC: run.score}}
    log = log._replace(iterations=run.iterations, metrics=there)
    flops = measure_training_cost(log, METRIC).flops
    return run._replace(multiply_adds=flops)


def read_processor() -> str:
    """Read the name of this machine's processor; '' if unknown."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    names = [line for line in lines if line.startswith('model name')]
    return names[0].partition(':')[2].strip() if names else ''


def read_runs(path: Path) -> Dict[Job, Run]:
    """Read the finished runs."""
    if not path.exists():
        return {}
    runs = [Run(**run) for run in json.loads(path.read_text())['runs']]
    return {run[:3]: run for run in runs}


def write_runs(runs: Dict[Job, Run], path: Path) -> None:
    """Write the runs, one per line, so that additions are easy to see."""
    lines = ',\n'.join(
        json.dumps(
            {k: v for k, v in runs[job]._asdict().items() if k != 'parts' or v}
        )
        for job in sorted(runs)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"metric": "{METRIC}", "runs": [\n{lines}\n]}}\n')


def find_families(
    runs: Dict[Job, Run], labels: Dict[str, str], args: argparse.Namespace
) -> List[Family]:
    """Set each training with subnets beside networks trained alone."""
    groups = group_seeds(list(runs.values()), labels)
    families = []
    for (arm, epochs), same in groups.items():
        if arm in COMPARISONS[args.of].plain:
            continue
        rivals = {
            equal: {n: groups.get((n, e), []) for n, e in lengths.items()}
            for equal, lengths in match_lengths(same[0], runs, args).items()
        }
        cost = same[0].multiply_adds / 1e12
        label = f'{labels[arm]}, {epochs} epochs, {cost:.2f} * 10^12 FLOPs'
        flops = count_test_flops(same[0], args)
        families.append(Family(label, same, rivals, flops))
    return families


def count_test_flops(run: Run, args: argparse.Namespace) -> Dict[str, float]:
    """Count the FLOPs of an image in each network, from the smallest."""
    config = read_config(run.arm, args)
    backbone = build_backbone(config)
    cost = measure_cost(backbone, make_training_image(config))
    blocks = [len(stage) for stage in find_stages(backbone)]
    flops = {}
    for network in sorted(list_rivals(run, args)):
        depths = tuple(map(int, network.split('-')))
        flops[network] = float(cost.count(Subnet.ordered(depths, blocks)))
    return flops


def report(runs: Dict[Job, Run], args: argparse.Namespace) -> None:
    """Print the tables of all runs and draw them."""
    comparison = COMPARISONS[args.of]
    labels = {name: arm.label for name, arm in comparison.arms.items()}
    shown = list(runs.values())
    tables = [
        format_costs(shown, labels, comparison.plain[0]),
        format_parts(shown, labels),
    ]
    drawn = [run for run in shown if run.arm in comparison.drawn] or shown
    figure = None
    families = find_families(runs, labels, args) if args.of == 'family' else []
    if families:
        tables = [format_family(family) for family in families]
        best = [f for f in families if f.runs[0].arm in comparison.drawn]
        figure = draw_families(best or families)
    elif args.of == 'digits':
        shortest = min(run.epochs for run in drawn)
        drawn = [run for run in drawn if run.epochs == shortest]
        figure = draw_gains(drawn, labels)
    elif args.of == 'numbers' and not args.tune:
        figure = draw_costs(drawn, labels)
    print('\n\n'.join(['', *filter(None, tables), '']))
    print(f'Scores in {args.path}')
    if figure is not None:
        picture = args.path.with_suffix('.png')
        figure.savefig(picture, dpi=150)
        print(f'Drawn in {picture}')
    processors = {run.processor for run in shown}
    if len(processors) > 1:
        print(f'Trained on several processors: {sorted(processors)}')


def main(args: Optional[Sequence[str]] = None) -> None:
    """Train what is missing, then print and draw all runs."""
    parsed = parse_args(args)
    runs = read_runs(parsed.path)
    if not parsed.report:
        jobs = plan_jobs(parsed)
        train_missing(jobs, runs, parsed)
        if parsed.equal_cost is not None:
            longer = plan_equal_cost(jobs, runs, parsed)
            train_missing(longer, runs, parsed)
    if not runs:
        raise SystemExit(f'there are no finished runs in {parsed.path}')
    report(runs, parsed)


if __name__ == '__main__':
    main()
