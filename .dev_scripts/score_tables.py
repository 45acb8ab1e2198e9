"""The tables of the pages, made from the scores in ``resources/*.json``."""

import json
from functools import lru_cache, partial
from pathlib import Path
from runpy import run_path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from mmst.analysis.scores import format_mean

ROOT = Path(__file__).resolve().parents[1]

#: Ways to train, with their labels.
ARMS = run_path(str(ROOT / 'demo/arms.py'))
Rows = List[List[str]]
#: Titles of the columns and the rows of each table, by its name.
TABLES: Dict[str, Tuple[str, Callable[[], Rows]]] = {}


def table(name: str, head: str) -> Callable:
    """Register a function that returns the rows of a table."""

    def register(list_rows: Callable[[], Rows]) -> Callable[[], Rows]:
        TABLES[name] = head, list_rows
        return list_rows

    return register


@lru_cache(maxsize=None)
def load(name: str) -> dict:
    """Read a file of ``resources``."""
    return json.loads((ROOT / f'resources/{name}.json').read_text())


def mean(values: Sequence[float], sign: str = '') -> str:
    """Format a mean over seeds with its 95 % interval."""
    return format_mean(values, sign=sign).replace('+-', '±')


def minus(new: Sequence[float], old: Sequence[float]) -> np.ndarray:
    """Compute differences seed by seed, of the seeds that both have."""
    both = min(len(new), len(old))
    return np.subtract(new[:both], old[:both])


def gain(new: Sequence[float], old: Sequence[float]) -> str:
    """Format the mean of differences, seed by seed."""
    return mean(minus(new, old), '+')


def by_seed(values: Sequence[float], digits: int = 1) -> str:
    """Format the score of each seed."""
    return ', '.join(f'{value:.{digits}f}' for value in values)


def of(runs: Sequence[dict], name: str) -> np.ndarray:
    """Collect one score of each run."""
    return np.array([run[name] for run in runs])


# ---- The digits, as demo/compare.py measured them

#: Methods in the order of Table 3, and their names on the page.
METHODS = {
    'CT': 'CT',
    'ST': 'ST',
    'ST + SITrans': 'ST + SITrans (smaller inputs)',
    'ST + KL- (l2)': "ST + KL-, `'l2'`",
    'ST + KL-': "ST + KL-, `'standardize'`",
    'ST + KL- + Snet3': 'the same + 3 subnets',
    'ST++': 'the same + SITrans (ST++)',
    'ST++ + InterSSR': 'ST++ + inter-stage rule (at least two blocks)',
    'ST++ (plain KL)': 'ST++, plain KL',
    'ST++ (stochastic)': 'ST++, stochastic sampling',
    'ST++ (raw)': 'ST++, raw sampling',
    'ST++ (running statistics)': 'ST++, subnets update the running statistics',
    'ST++ (chained inputs)': 'ST++, chained inputs, as released',
}
#: The method to which each one adds a part; the others add theirs to ST++.
WITHOUT = {
    'ST': 'CT',
    'ST + SITrans': 'ST',
    'ST + KL- (l2)': 'ST',
    'ST + KL-': 'ST',
    'ST + KL- + Snet3': 'ST + KL-',
    'ST++': 'ST + KL- + Snet3',
}


@lru_cache(maxsize=None)
def load_digits(name: str) -> Tuple[Dict[str, List[dict]], Dict[str, dict]]:
    """Read scores by method, one a seed, and costs at which CT is compared."""
    arms, runs = ARMS['DIGITS_ARMS'], Runs(name)
    results = {
        arms[arm].label: [run['parts'] for run in runs.runs[arm, epochs]]
        for arm, epochs in runs.keys([*arms])
        if epochs == 20
    }
    costs = {}
    for arm, epochs in runs.runs:
        if arm != 'ct' and ('ct', 20) in runs.runs:
            ratio = runs.flops(arm, epochs) / runs.flops('ct', 20)
            longer = runs.runs.get(('ct', round(20 * ratio)), [])
            costs[arms[arm].label] = dict(
                ratio=ratio,
                epochs=round(20 * ratio),
                scores=[run['parts'] for run in longer],
            )
    return results, costs


def digits(method: str, network: str, name: str = 'demo') -> np.ndarray:
    """Collect a network's scores, one a seed."""
    return of(load_digits(name)[0][method], network)


@table('digits', 'network | CT | ST (plain KL, one subnet) | ST++')
def list_digits() -> Rows:
    return [
        [network, *(mean(digits(m, network)) for m in ('CT', 'ST', 'ST++'))]
        for network in ('main', '1-1-1', '2-2-2', '3-3-3')
    ]


@table('digits-cost', 'method | epochs | main | 1-1-1')
def list_digits_at_equal_cost() -> Rows:
    results, costs = load_digits('demo_equal_cost')
    rows = [
        ('CT', 20, results['CT']),
        *(('CT', cost['epochs'], cost['scores']) for cost in costs.values()),
        ('ST++', 20, results['ST++']),
        ('ST++ + inter-stage rule', 20, results['ST++ + InterSSR']),
    ]
    return [
        [name, str(epochs), *(by_seed(of(runs, n)) for n in ('main', '1-1-1'))]
        for name, epochs, runs in rows
    ]


@table('components', 'method | main | 1-1-1 | 2-2-2 | main minus CT')
def list_components() -> Rows:
    assert [*METHODS] == [*load_digits('demo')[0]]
    rows = [
        [label, *(mean(digits(method, n)) for n in ('main', '1-1-1', '2-2-2'))]
        + [gain(digits(method, 'main'), digits('CT', 'main'))]
        for method, label in METHODS.items()
    ]
    rows[0][-1] = ''
    return rows


@table('steps', 'from | to | main network | one-block subnet')
def list_steps() -> Rows:
    steps = [(WITHOUT.get(new, 'ST++'), new) for new in list(METHODS)[1:]]
    return [
        [old, new]
        + [gain(digits(new, n), digits(old, n)) for n in ('main', '1-1-1')]
        for old, new in steps
    ]


@table('targets', 'subnets learn from | main | 1-1-1 | 2-2-2 | 3-3-3')
def list_targets() -> Rows:
    demo, targets = load_digits('demo')[0], load_digits('demo_targets')[0]
    both = targets['ST++ (labels and main network)']
    rows = {
        'no subnets (CT)': demo['CT'][: len(both)],
        'the main network (ST++)': demo['ST++'][: len(both)],
        'labels': targets['ST++ (labels)'],
        'labels and the main network': both,
    }
    networks = ('main', '1-1-1', '2-2-2', '3-3-3')
    return [
        [name, *(by_seed(of(runs, n)) for n in networks)]
        for name, runs in rows.items()
    ]


@table('family', 'blocks | top-1 | FLOPs (M) | parameters (M) | time (ms)')
def list_family() -> Rows:
    """List the networks that score higher than all of fewer FLOPs."""
    rows, best = [], -1.0
    networks = load('accuracy_cost')['networks']
    for one in sorted(networks, key=lambda n: (n['flops'], -n['score'])):
        if one['score'] > best:
            best = one['score']
            rows.append(
                [
                    '-'.join(map(str, one['depths'])),
                    f'{best:.1f}',
                    f'{one["flops"] / 1e6:.1f}',
                    f'{one["params"] / 1e6:.3f}',
                    f'{one["latency"]:.2f}',
                ]
            )
    rows[-1][0] += ', main'
    return rows


# ---- Accuracy against cost, as demo/compare.py measured it


class Runs:
    """The trainings in a file, by arm and epochs, sorted by seed."""

    def __init__(self, name: str) -> None:
        self.runs: Dict[Tuple[str, int], List[dict]] = {}
        for run in sorted(load(name)['runs'], key=lambda run: run['seed']):
            key = run['arm'], run['epochs']
            self.runs.setdefault(key, []).append(run)

    def keys(self, arms: Sequence[str]) -> List[Tuple[str, int]]:
        """List the lengths of arms, arm by arm."""
        keys = sorted(self.runs, key=lambda key: key[1])
        return [key for arm in arms for key in keys if key[0] == arm]

    def score(self, arm: str, epochs: int, part: str = '') -> np.ndarray:
        """Collect the scores, or those of a part such as an exit."""
        runs = self.runs[arm, epochs]
        return of(
            [r['parts'] for r in runs] if part else runs, part or 'score'
        )

    def ahead(self, arm: str, epochs: int, part: str = '') -> np.ndarray:
        """Collect the differences from CT of as many epochs, seed by seed."""
        plain = self.score('ct', epochs, part)
        return minus(self.score(arm, epochs, part), plain)

    def ahead_at_cost(self, arm: str, epochs: int) -> np.ndarray:
        """Collect the differences from CT of as much cost, seed by seed."""
        return minus(self.score(arm, epochs), self.ct_for(arm, epochs))

    def flops(self, arm: str, epochs: int) -> float:
        """Look up the FLOPs of one training."""
        return self.runs[arm, epochs][0]['multiply_adds']

    def seconds(self, arm: str, epochs: int) -> str:
        """Format the mean CPU time of the seeds that have one, if any."""
        runs = self.runs[arm, epochs]
        known = [run['cpu_seconds'] for run in runs if run['cpu_seconds']]
        return f'{np.mean(known):.0f}' if known else ''

    def ct_for(self, arm: str, epochs: int) -> np.ndarray:
        """Interpolate CT's scores at a training's cost, seed by seed.

        Linear in the logarithm of the cost, between the two lengths nearest
        to it: some seeds have no others.
        """
        cost, lengths = np.log(self.flops(arm, epochs)), self.keys(['ct'])
        costs = np.log([self.flops(*key) for key in lengths])
        after = int(np.searchsorted(costs, cost).clip(1, len(costs) - 1))
        near = slice(after - 1, after + 1)
        seeds = zip(*(self.score(*key) for key in lengths[near]))
        found = [np.interp(cost, costs[near], scores) for scores in seeds]
        return np.array(found[: len(self.runs[arm, epochs])])

    def cells(self, arm: str, epochs: int) -> List[str]:
        """List seeds, score, gain, FLOPs, time, and CT for as many FLOPs."""
        score, ahead, equal = self.score(arm, epochs), '', ''
        if arm != 'ct':
            ahead = mean(self.ahead(arm, epochs), '+')
            equal = mean(self.ct_for(arm, epochs))
        flops = f'{self.flops(arm, epochs) / 1e12:.2f}'
        cells = [str(len(score)), mean(score), ahead, flops]
        return [*cells, self.seconds(arm, epochs), equal]


COSTS = '10^12 FLOPs | CPU seconds | CT at that cost'
SCORES = f'seeds | top-1 in % | minus CT, by seed | {COSTS}'
EXITS = ('main', '1', '2', '3', '4', '5', '6')


@table('frontier', f'| epochs | {SCORES}')
def list_frontier() -> Rows:
    runs, arms = Runs('frontier'), ARMS['NUMBERS_ARMS']
    return [
        [arms[key[0]].label, str(key[1]), *runs.cells(*key)]
        for key in runs.keys(ARMS['SCHEDULES'])
    ]


@table('frontier-parts', f'20 epochs | {SCORES}')
def list_frontier_parts() -> Rows:
    runs, arms = Runs('frontier'), ARMS['NUMBERS_ARMS']
    parts = {arm for arm, _ in runs.runs} - {*ARMS['SCHEDULES'], 'stpp-label'}
    order = ['ct', *sorted(parts, key=[*arms].index), 'stpp', 'stpp-label']
    return [[arms[arm].label, *runs.cells(arm, 20)] for arm in order]


@table(
    'frontier-tuning',
    'on the split | epochs | top-1 in %, by seed | 10^12 FLOPs',
)
def list_frontier_tuning() -> Rows:
    runs, arms = Runs('frontier_tune'), ARMS['NUMBERS_ARMS']
    return [
        [arms[key[0]].label, str(key[1]), by_seed(runs.score(*key), digits=2)]
        + [f'{runs.flops(*key) / 1e12:.2f}']
        for key in runs.keys([*arms])
    ]


@table('vit', f'| epochs | {" | ".join(EXITS)} | main minus CT, by seed')
def list_vit() -> Rows:
    runs = Runs('frontier_vit')
    return [
        [ARMS['VIT_ARMS'][arm].label, str(epochs)]
        + [mean(runs.score(arm, epochs, part)) for part in EXITS]
        + ['' if arm == 'ct' else mean(runs.ahead(arm, epochs, 'main'), '+')]
        for arm, epochs in runs.keys([*ARMS['VIT_ARMS']])
    ]


@table('vit-tuning', f'on the split | epochs | {" | ".join(EXITS)}')
def list_vit_tuning() -> Rows:
    runs = Runs('frontier_vit_tune')
    return [
        [ARMS['VIT_ARMS'][key[0]].label, str(key[1])]
        + [by_seed(runs.score(*key, part)) for part in EXITS]
        for key in runs.keys([*ARMS['VIT_ARMS']])
    ]


@table('mae', 'pretraining | epochs | linear probe | fine-tuning')
def list_mae() -> Rows:
    runs, parts = Runs('frontier_mae'), ('linear probe', 'fine-tuning')
    names = {'ct': 'MAE', 'st': 'MAE, ST'}
    rows = [
        [names[key[0]], str(key[1])]
        + [mean(runs.score(*key, part)) for part in parts]
        for key in runs.keys([*names])
    ]
    for epochs in (40, 70):
        rows.append([f'ST minus MAE of {epochs}, by seed', ''])
        rows[-1] += [
            gain(runs.score('st', 40, part), runs.score('ct', epochs, part))
            for part in parts
        ]
    return rows


# ---- A family of networks, and each of them trained alone

NETWORKS = tuple(ARMS['ALONE_ARMS'])
#: The family of the chosen settings, and one that sees smaller images too.
CHOSEN, SMALLER = 'stpp-label-full-sandwich', 'stpp-label'
#: A family of the chosen settings in a ResNet-20.
RESNET20 = 'resnet20'
LENGTH = 20
#: Networks in each family.
SIZES = {CHOSEN: 125, RESNET20: 27}
SHARES = (2, 3, 5, 9)


def list_networks(arm: str) -> List[str]:
    """List the networks of a family that are trained alone too."""
    parts = Runs('family').runs[arm, LENGTH][0]['parts']
    return [network for network in NETWORKS if network in parts]


def list_lengths(network: str, arm: str = CHOSEN) -> Dict[str, int]:
    """List the epochs of a network alone, by what they are equal in."""
    runs = Runs('family')
    epochs = runs.flops(arm, LENGTH) / runs.flops(network, LENGTH) * LENGTH
    parts = {f'1/{n}': round(epochs / n) for n in (*SHARES, SIZES[arm])}
    return {f'{LENGTH} epochs': LENGTH, **parts}


@lru_cache(maxsize=None)
def list_measured(arm: str) -> Dict[str, Dict[str, int]]:
    """List for how many epochs each network was trained alone, and why.

    Without lengths that were not trained for every network and seed; a part
    of less than an epoch cannot be.
    """
    runs = Runs('family').runs
    seeds = len(runs[arm, LENGTH])
    lengths = {n: list_lengths(n, arm) for n in list_networks(arm)}
    whole = [
        name
        for name in lengths[NETWORKS[0]]
        if all(
            len(runs.get((network, mine[name]), ())) == seeds
            for network, mine in lengths.items()
            if mine[name]
        )
    ]
    return {n: {k: mine[k] for k in whole} for n, mine in lengths.items()}


@table(
    'family-tuning',
    f'on the split | {" | ".join(NETWORKS)} | mean | 10^12 FLOPs',
)
def list_family_tuning() -> Rows:
    runs, arms = Runs('family_tune'), ARMS['FAMILY_ARMS']
    rows = []
    for key in runs.keys([*arms]):
        scores = [runs.score(*key, network)[0] for network in NETWORKS]
        cells = [f'{score:.1f}' for score in (*scores, np.mean(scores))]
        label = arms[key[0]].label.replace('ST++ of ResNet-32', 'ST++')
        rows.append([label, *cells, f'{runs.flops(*key) / 1e12:.1f}'])
    return rows


def list_alone(arm: str) -> Rows:
    """List a family's networks beside each trained alone."""
    runs, rows = Runs('family'), []
    for network, lengths in list_measured(arm).items():
        rows.append([network, mean(runs.score(arm, LENGTH, network))])
        for epochs in lengths.values():
            rows[-1].append(
                f'{mean(runs.score(network, epochs))} ({epochs})'
                if epochs
                else 'no epoch'
            )
    return rows


def list_gains(arm: str) -> Rows:
    """List what a family's networks have over each trained alone."""
    runs, rows = Runs('family'), []
    for network, lengths in list_measured(arm).items():
        rows.append([network])
        for epochs in lengths.values():
            rows[-1].append(
                gain(
                    runs.score(arm, LENGTH, network),
                    runs.score(network, epochs),
                )
                if epochs
                else ''
            )
    return rows


for name, arm in (('family', CHOSEN), ('family20', RESNET20)):
    equal = ' | '.join(list_measured(arm)[NETWORKS[0]])
    table(f'{name}-alone', f'| in the family | {equal}')(
        partial(list_alone, arm)
    )
    table(f'{name}-gain', f'the family minus that alone | {equal}')(
        partial(list_gains, arm)
    )


@table('family-sizes', 'trained | network | 32 px | 28 px | 24 px')
def list_family_sizes() -> Rows:
    runs, rows = Runs('family'), []
    for name, arm, networks in (
        ('alone', '5-5-5', ('5-5-5',)),
        ('in the family', CHOSEN, ('1-1-1', '3-3-3', '5-5-5')),
        (
            'in a family on smaller images too',
            SMALLER,
            ('1-1-1', '3-3-3', '5-5-5'),
        ),
    ):
        for network in networks:
            full = '' if arm == network else network
            cells = [mean(runs.score(arm, LENGTH, full))]
            cells += [
                mean(runs.score(arm, LENGTH, f'{network} at {px} px'))
                for px in (28, 24)
            ]
            rows.append([name, network, *cells])
    return rows


# ---- Fine-tuning, as demo/downstream.py measured it

#: Framework, metric, and the names of both.
SCENES = (
    ('mask-rcnn', 'coco/bbox_mAP', 'Mask R-CNN', 'box AP'),
    ('mask-rcnn', 'coco/segm_mAP', 'Mask R-CNN', 'mask AP'),
    ('semantic-fpn', 'mIoU', 'Semantic FPN', 'mIoU'),
    ('simple-baseline', 'coco/AP', 'SimpleBaseline2D', 'keypoint AP'),
)


def scenes(framework: str, metric: str) -> List[List[float]]:
    """Collect the scores of ST, of ST*, and of ST for as much time."""
    downstream = load('demo_downstream')
    scores = downstream['results'][framework][metric]
    longer = downstream['costs'][framework]['scores'][metric]
    return [scores['st'], scores['st-star'], longer]


@table(
    'fine-tuning',
    'framework | metric | ST | ST\\* | ST\\* minus ST | ST of the same time '
    '| ST\\* minus that',
)
def list_fine_tuning() -> Rows:
    rows = []
    for framework, metric, *names in SCENES:
        st, star, longer = scenes(framework, metric)
        rows.append([*names, mean(st), mean(star), gain(star, st)])
        rows[-1] += [mean(longer), gain(star, longer)]
    return rows


# ---- A detector's subnets, as demo/detectors.py measured them

DETECTORS = ' | '.join(load('detectors')['results']).replace('*', '\\*')


@table('detectors', f'| {DETECTORS} | epochs of that time')
def list_detectors() -> Rows:
    found = load('detectors')
    return [
        [network]
        + [mean(of(runs, network)) for runs in found['results'].values()]
        + [str(epochs)]
        for network, epochs in found['epochs'].items()
    ]


# ---- What tools/analysis_tools/score_quality.py measured

KINDS = ('raw', 'predicted', 'calibrated')


def list_scores(name: str) -> Rows:
    """List cross-entropy and calibration error, network by network."""
    return [
        [f'{method}, {network}', f'{scores["top1"]:.2f}']
        + [f'{scores["cross_entropy"][kind]:.3f}' for kind in KINDS]
        + [f'{100 * scores["calibration_error"][kind]:.1f}' for kind in KINDS]
        + [f'{scores["temperature"]:.2f}']
        for method, found in load('score_quality')[name].items()
        for network, scores in found['networks'].items()
        if network != '3-3-3'  # the main network's depths
    ]


for name in ('numbers10k', 'mnistm5k'):
    table(
        f'scores-{name}',
        'network | top-1 | CE raw | predicted | calibrated | ECE raw '
        '| predicted | calibrated | temperature',
    )(partial(list_scores, name))


# ---- What subnets bring, all tasks together


class Comparison(NamedTuple):
    """Trainings without and with subnets, like with like.

    Attributes:
        task: The task and the length.
        metric: The metric of the scores.
        old: Scores without subnets, one a seed.
        new: Scores with subnets, in as many epochs.
        longer: Scores without subnets, for the same cost.
        cost: That cost, in units of the first.
    """

    task: str
    metric: str
    old: Sequence[float]
    new: Sequence[float]
    longer: Sequence[float]
    cost: str


def compare_digits(task: str, network: str) -> Comparison:
    cost = load_digits('demo_equal_cost')[1]['ST++']
    old, new = (digits(m, network, 'demo_equal_cost') for m in ('CT', 'ST++'))
    longer, ratio = of(cost['scores'], network), cost['ratio']
    return Comparison(
        f'digits, {task}', 'top-1', old, new, longer, f'{ratio:.2f}, by FLOPs'
    )


def compare_numbers(task: str, arm: str, epochs: int) -> Comparison:
    runs = Runs('frontier')
    new, longer = runs.score(arm, epochs), runs.ct_for(arm, epochs)
    old = runs.score('ct', epochs)[: len(new)]
    ratio = runs.flops(arm, epochs) / runs.flops('ct', epochs)
    cost, task = f'{ratio:.2f}, by FLOPs', f'numbers, {task}, {epochs} epochs'
    return Comparison(task, 'top-1', old, new, longer, cost)


def compare_exits(epochs: int) -> Comparison:
    runs = Runs('frontier_vit')
    old, new = (runs.score(a, epochs, 'main') for a in ('ct', 'st-weak'))
    task = f'digits, small ViT with one early exit, {epochs} epochs'
    return Comparison(task, 'top-1', old, new, old, '1.00, by FLOPs')


def compare_scenes(task: str, row: int) -> Comparison:
    framework, metric, model, name = SCENES[row]
    ratio = np.mean(load('demo_downstream')['costs'][framework]['ratio'])
    scores = scenes(framework, metric)
    task = f'{task}, ST\\*, {model}'
    return Comparison(task, name, *scores, f'{ratio:.2f}, by time')


def list_comparisons(every: bool) -> List[Comparison]:
    """List the comparisons of the README, or those of the method card too."""
    rows = [
        compare_digits('ST++, 20 epochs', 'main'),
        compare_digits('ST++, the subnet of one block a stage', '1-1-1'),
        compare_numbers('ST++', 'stpp', 20),
        compare_numbers('ST++', 'stpp', 80),
        compare_numbers('ST++ from a fifth on, one size', 'stpp-fifth', 80),
        compare_exits(40),
        compare_scenes('detection', 0),
        compare_scenes('semantic segmentation', 2),
        compare_scenes('pose', 3),
    ]
    if every:
        one = 'one subnet and one size'
        rows.insert(6, compare_exits(80))
        rows[4:4] = [compare_numbers(one, 'stpp-k1', n) for n in (20, 80)]
        rows.insert(2, compare_numbers('ST++', 'stpp', 10))
    return rows


@table(
    'readme',
    'task | metric | common training | with subnets | gain '
    '| common training of the same cost',
)
def list_readme() -> Rows:
    return [
        [c.task, c.metric, mean(c.old), mean(c.new), gain(c.new, c.old)]
        + [mean(c.longer)]
        for c in list_comparisons(every=False)
    ]


@table(
    'worth',
    'task | metric | gain in as many epochs | cost, plain training = 1 '
    '| gain at the same cost',
)
def list_worth() -> Rows:
    return [
        [c.task, c.metric, gain(c.new, c.old), c.cost, gain(c.new, c.longer)]
        for c in list_comparisons(every=True)
    ]


# ---- Stock configs on odd data, as stock_configs.py ran them


@table('stock-configs', 'toolbox | config | outcome')
def list_stock_configs() -> Rows:
    return [
        [toolbox, f'`{config}`', outcome]
        for toolbox, configs in load('stock_configs')['outcomes'].items()
        for config, outcome in configs.items()
    ]


def list_families(reason: str) -> Rows:
    """List the families that are in no row of that table."""
    return [
        [toolbox, ', '.join(f'`{name}`' for name in names)]
        for toolbox, names in load('stock_configs')[reason].items()
    ]


for name, reason in (
    ('stock-other-backbones', 'no residual backbone'),
    ('stock-not-built', 'no model that can be built'),
):
    table(name, 'toolbox | families')(partial(list_families, reason))
