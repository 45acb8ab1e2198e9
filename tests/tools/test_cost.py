"""The tool for training cost, on the log of a real run."""

import pytest

from mmst.analysis.cost import TrainingCost, format_cost_table
from tests.conftest import logged


def test_table_numbers_and_picture(analyse, trained, tmp_path, capsys):
    results = analyse(
        'cost',
        tmp_path / 'out',
        '--run',
        'a',
        trained,
        '--run',
        'b',
        trained,
        '--size',
        '32',
        '32',
    )
    assert results['a'] == results['b']
    assert results['a']['scores'] == [logged(trained)[-1]['accuracy/top1']]
    assert results['a']['epochs'] == [1]
    assert results['a']['iterations'] == 2
    table = format_cost_table(
        {name: TrainingCost(**result) for name, result in results.items()}
    )
    assert table in capsys.readouterr().out


@pytest.mark.parametrize(
    'message, args',
    [
        ("metric 'mIoU' is not one of", ['--metric', 'mIoU']),
        ('--size HEIGHT WIDTH', []),  # images are taken as they are
    ],
)
def test_bad_input_leaves_nothing(refuse, trained, tmp_path, message, args):
    run = ('--run', 'a', trained)
    refuse('cost', tmp_path / 'out', ValueError, message, *run, *args)


def test_no_log(refuse, tmp_path):
    refuse(
        'cost',
        tmp_path / 'out',
        ValueError,
        "run 'a': .* has no training log",
        '--run',
        'a',
        tmp_path,
    )
