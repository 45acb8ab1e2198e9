"""The tables of the results are those of the measured scores."""

import json

import numpy as np
import pytest

from tests.conftest import ROOT

from .tables import (
    by_seed,
    comparison,
    costs_of,
    digit_scores,
    frontier_cells,
    frontier_runs,
    interval,
    results_of,
    rows_of,
    scores_by_part,
)

PAGE = 'docs/results.md'


def test_digits_by_network():
    rows = rows_of(PAGE, '| network | CT | ST (plain KL, one subnet) | ST++ |')
    assert [row[0] for row in rows] == ['main', '1-1-1', '2-2-2', '3-3-3']
    for network, *cells in rows:
        assert cells == [
            interval(digit_scores(method, network))
            for method in ('CT', 'ST', 'ST++')
        ]


def test_digits_at_equal_cost():
    runs = results_of('demo_equal_cost')
    costs = costs_of('demo_equal_cost')
    rows = rows_of(PAGE, '| method | epochs | main | 1-1-1 |')
    networks = ('main', '1-1-1')
    longer = [
        ('CT', f'{cost["epochs"]}', cost['scores']) for cost in costs.values()
    ]
    assert rows == [
        [method, epochs, *(by_seed([s[n] for s in scores]) for n in networks)]
        for method, epochs, scores in (
            ('CT', '20', runs['CT']),
            *longer,
            ('ST++', '20', runs['ST++']),
            ('ST++ + inter-stage rule', '20', runs['ST++ + InterSSR']),
        )
    ]
    text = ' '.join((ROOT / PAGE).read_text().split())
    for method, cost in costs.items():
        assert f'{cost["ratio"]:.2f} times a plain one' in text
        behind = [
            ours['main'] - ct['main']
            for ours, ct in zip(runs[method], cost['scores'])
        ]
        assert f'{interval(behind, "+")} points' in text


def test_digits_by_component():
    rows = rows_of(PAGE, '| method | main | 1-1-1 | 2-2-2 | main minus CT |')
    methods = list(results_of('demo'))
    assert len(rows) == len(methods)
    for (_, *cells), method in zip(rows, methods):
        expected = [
            interval(digit_scores(method, network))
            for network in ('main', '1-1-1', '2-2-2')
        ]
        gain = digit_scores(method, 'main') - digit_scores('CT', 'main')
        expected.append('' if method == 'CT' else interval(gain, '+'))
        assert cells == expected, method


def test_digits_by_what_subnets_learn_from():
    targets = results_of('demo_targets')
    num_seeds = len(targets['ST++ (labels)'])
    runs = {
        'no subnets (CT)': results_of('demo')['CT'],
        'the main network (ST++)': results_of('demo')['ST++'],
        'labels': targets['ST++ (labels)'],
        'labels and the main network': targets[
            'ST++ (labels and main network)'
        ],
    }
    rows = rows_of(
        PAGE, '| subnets learn from | main | 1-1-1 | 2-2-2 | 3-3-3 |'
    )
    assert [row[0] for row in rows] == [*runs]
    for name, *cells in rows:
        assert cells == [
            by_seed([run[network] for run in runs[name][:num_seeds]])
            for network in ('main', '1-1-1', '2-2-2', '3-3-3')
        ]
    text = ' '.join((ROOT / PAGE).read_text().split())
    st = digit_scores('ST++', 'main')[:num_seeds]
    labels, both = (
        interval([run['main'] for run in runs[name]] - st, '+')
        for name in ('labels', 'labels and the main network')
    )
    assert f'{labels} with labels and {both} with both' in text


FRONTIER = (
    '| | epochs | seeds | top-1 in % | minus CT, by seed '
    '| 10^12 FLOPs | CPU seconds | CT at that cost |'
)
FRONTIER_PARTS = FRONTIER.replace('| | epochs', '| 20 epochs')


def cells_by_arm(
    load_tool, comparison: str, header: str, *epochs: str
) -> dict:
    """The cells for each arm and length.

    Tables of one length have no column for it.
    """
    arms = load_tool('demo/frontier_arms').COMPARISONS[comparison].arms
    names = {arm.label: name for name, arm in arms.items()}
    rows = [[row[0], *epochs, *row[1:]] for row in rows_of(PAGE, header)]
    cells = {
        (names[label], int(length)): rest for label, length, *rest in rows
    }
    assert len(cells) == len(rows)
    return cells


def test_accuracy_against_cost(load_tool):
    """Each row is the mean over the seeds of the runs that are done.

    One table has arms that differ in schedule, the other their parts.
    """
    runs = frontier_runs('frontier')
    default = load_tool('demo/frontier_arms').COMPARISONS['resnet20'].default
    schedules = cells_by_arm(load_tool, 'resnet20', FRONTIER)
    assert {*schedules} == {key for key in runs if key[0] in default}
    parts = cells_by_arm(load_tool, 'resnet20', FRONTIER_PARTS, '20')
    assert {*parts} == {('ct', 20), ('stpp', 20)} | {
        key for key in runs if key[0] not in default
    }
    for cells in (schedules, parts):
        for key, row in cells.items():
            assert row == frontier_cells(runs, *key), key


def test_differences_in_the_text_below_it():
    runs = frontier_runs('frontier')

    def scores(arm: str, epochs: int) -> np.ndarray:
        return np.array([runs[arm, epochs][s]['score'] for s in (0, 1, 2)])

    text = ' '.join((ROOT / PAGE).read_text().split())
    sizes = scores('stpp', 20) - scores('stpp-shared', 20)
    assert f'by {interval(sizes)} points seed by seed' in text
    sizes = scores('stpp-shared', 40) - scores('stpp', 40)
    assert f'After 40 they differ by {interval(sizes, "+")}' in text
    ahead = scores('stpp-shared', 40) - scores('ct', 40)
    assert f'ahead of CT by {interval(ahead)}.' in text
    longest = scores('stpp', 80) - scores('ct', 236)
    assert f'differ from that by {interval(longest, "+")} points;' in text
    longest = scores('stpp-all', 80) - scores('ct', 184)
    assert f'and differ from 184 by {interval(longest, "+")}.' in text
    depths = scores('stpp-all', 80) - scores('stpp-shared', 80)
    assert f'all depths are ahead by {interval(depths)} points.' in text
    behind = scores('ct', 80) - scores('stpp-every2', 80)
    assert f'at the end by {interval(behind)} points.' in text
    assert 'it is that of seed 0 alone' in text
    timed = runs['stpp-every2', 80].items()
    assert [seed for seed, run in timed if run['cpu_seconds']] == [0]
    worst = [
        scores(arm, 10).min()
        for arm in ('stpp', 'stpp-shared', 'stpp-all', 'stpp-every2')
    ]
    assert f'with {min(worst):.1f} to {max(worst):.1f} %' in text


TUNING = '| on the split | epochs | top-1 in %, by seed | 10^12 FLOPs |'


def test_tuning(load_tool):
    runs = frontier_runs('frontier_tune')
    rows = cells_by_arm(load_tool, 'resnet20', TUNING)
    assert {*rows} == {*runs}
    for key, cells in rows.items():
        same = [*runs[key].values()]
        scores = by_seed([run['score'] for run in same], digits=2)
        cost = f'{same[0]["multiply_adds"] / 1e12:.2f}'
        assert cells == [scores, cost], key


EXITS = '| on the split | epochs | main | 1 | 2 | 3 | 4 | 5 | 6 |'


def test_exits_of_the_vit(load_tool):
    runs = frontier_runs('frontier_vit_tune')
    rows = cells_by_arm(load_tool, 'vit', EXITS)
    assert {*rows} == {*runs}
    for key, cells in rows.items():
        (run,) = runs[key].values()
        assert cells == [f'{score:.1f}' for score in run['parts'].values()]


TRAINED_VIT = (
    '| | epochs | main | 1 | 2 | 3 | 4 | 5 | 6 | main minus CT, by seed |'
)


def test_vit(load_tool):
    scores = scores_by_part('frontier_vit')
    rows = cells_by_arm(load_tool, 'vit', TRAINED_VIT)
    assert {*rows} == {*scores}
    for (arm, epochs), (*cells, gain) in rows.items():
        mine = scores[arm, epochs]
        assert cells == [interval(score) for score in mine.values()], arm
        ahead = mine['main'] - scores['ct', epochs]['main']
        assert gain == ('' if arm == 'ct' else interval(ahead, '+'))


def test_differences_in_the_text_on_the_vit():
    scores = scores_by_part('frontier_vit')

    def gain(arm: str, epochs: int, part: str = 'main') -> np.ndarray:
        return scores[arm, epochs][part] - scores['ct', epochs][part]

    text = ' '.join((ROOT / PAGE).read_text().split())
    lost = [
        f'{-gain(arm, 40).mean():.1f}'
        for arm in ('st', 'st-k3', 'st-standardize', 'stpp', 'st-weak')
    ]
    assert (
        'loses {} points with one exit an iteration, {} with three, {} and {} '
        'with KL-. With a tenth of the weight, the best on the split, it '
        'loses {}.'
    ).format(*lost) in text
    runs = frontier_runs('frontier_vit')
    ct, st = (frontier_cells(runs, arm, 40)[4] for arm in ('ct', 'st'))
    assert f'took {st} CPU seconds in place of {ct} for 40 epochs' in text
    exits = [
        f'{gain("st-weak", 80, part).mean():.1f}' for part in ('2', '3', '4')
    ]
    longer = interval(gain('st-weak', 80), '+')
    assert (
        f"differs from CT's by {longer} points, and the second, third and "
        'fourth exit gain {}, {} and {}.'
    ).format(*exits) in text


PRETRAINED = '| pretraining | epochs | linear probe | fine-tuning |'


@pytest.mark.parametrize('page', [PAGE, 'configs/st_selfsup/README.md'])
def test_pretraining(page):
    scores = scores_by_part('frontier_mae')
    st = scores['st', 40]
    parts = ('linear probe', 'fine-tuning')
    cells = [
        [interval(scores[key][part]) for part in parts]
        for key in (('ct', 40), ('ct', 70), ('st', 40))
    ] + [
        [
            interval(st[part] - scores['ct', epochs][part], '+')
            for part in parts
        ]
        for epochs in (40, 70)
    ]
    labels = [
        ['MAE', '40'],
        ['MAE', '70'],
        ['MAE, ST', '40'],
        ['ST minus MAE of 40, by seed', ''],
        ['ST minus MAE of 70, by seed', ''],
    ]
    assert rows_of(page, PRETRAINED) == [
        [*label, *row] for label, row in zip(labels, cells)
    ]


FINE_TUNED = (
    '| framework | metric | ST | ST\\* | ST\\* minus ST '
    '| ST of the same time | ST\\* minus that |'
)


def test_fine_tuning():
    rows = rows_of(PAGE, FINE_TUNED)
    costs = costs_of('demo_downstream')
    expected = [
        [
            *comparison(values['st'], values['st-star']),
            *comparison(costs[name]['scores'][metric], values['st-star'])[::2],
        ]
        for name, metrics in results_of('demo_downstream').items()
        for metric, values in metrics.items()
    ]
    assert [row[2:] for row in rows] == expected and len(rows) == 4
    text = ' '.join((ROOT / PAGE).read_text().split())
    for cost in costs.values():
        assert f'{np.mean(cost["ratio"]):.2f}' in text
        assert f'{cost["length"]:,}' in text


def test_depths_are_the_best_of_the_measured():
    """No subnet of as many FLOPs or fewer scores as high."""
    networks = json.loads((ROOT / 'resources/accuracy_cost.json').read_text())[
        'networks'
    ]
    expected = [
        [
            '-'.join(map(str, n['depths'])),
            f'{n["score"]:.1f}',
            f'{n["flops"] / 1e6:.1f}',
            f'{n["params"] / 1e6:.3f}',
            f'{n["latency"]:.2f}',
        ]
        for n in sorted(networks, key=lambda n: n['flops'])
        if all(
            n['score'] > other['score']
            for other in networks
            if other is not n and other['flops'] <= n['flops']
        )
    ]
    rows = rows_of(
        PAGE,
        '| blocks | top-1 | FLOPs (M) | parameters (M) | time (ms) |',
    )
    assert rows[-1][0] == '3-3-3, main'
    rows[-1][0] = '3-3-3'
    assert rows == expected
