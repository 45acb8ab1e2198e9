"""The tables of the results are those of the measured scores."""

import json

from tests.conftest import ROOT

from .tables import comparison, digit_scores, interval, results_of, rows_of

PAGE = 'docs/results.md'


def test_digits_by_network():
    rows = rows_of(PAGE, '| network | CT | ST (plain KL, one subnet) | ST++ |')
    assert [row[0] for row in rows] == ['main', '1-1-1', '2-2-2', '3-3-3']
    for network, *cells in rows:
        assert cells == [
            interval(digit_scores(method, network))
            for method in ('CT', 'ST', 'ST++')
        ]


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


def test_accuracy_against_cost():
    """Each row is the mean over the seeds of the runs that are done."""
    header = (
        '| | epochs | seeds | top-1 in % | 10^12 multiply-adds | CPU seconds |'
    )
    runs = json.loads((ROOT / 'resources/frontier.json').read_text())['runs']
    arms = {'ct': 'CT', 'stpp-shared': 'ST++, one size'}
    rows = rows_of(PAGE, header)
    assert len(rows) == len({(run['arm'], run['epochs']) for run in runs})
    for name, epochs, seeds, score, cost, seconds in rows:
        same = [
            run
            for run in runs
            if (arms[run['arm']], str(run['epochs'])) == (name, epochs)
        ]
        scores = [run['score'] for run in same]
        assert seeds == str(len(same))
        assert score == (
            interval(scores) if len(same) > 1 else f'{scores[0]:.2f}'
        )
        assert {cost} == {f'{run["multiply_adds"] / 1e12:.2f}' for run in same}
        times = [run['cpu_seconds'] for run in same]
        assert seconds == f'{sum(times) / len(times):.0f}'


def test_fine_tuning():
    rows = rows_of(
        PAGE, '| framework | metric | ST | ST\\* | ST\\* minus ST |'
    )
    results = results_of('demo_downstream')
    scores = [m for metrics in results.values() for m in metrics.values()]
    assert len(rows) == len(scores) == 4
    for (_, _, *cells), values in zip(rows, scores):
        assert cells == comparison(values['st'], values['st-star'])


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
        '| blocks | top-1 | multiply-adds (M) | parameters (M) | time (ms) |',
    )
    assert rows[-1][0] == '3-3-3, main'
    rows[-1][0] = '3-3-3'
    assert rows == expected
