"""Amplitudes by hand, their table and their pictures."""

import pytest

from mmst.analysis.loafing import measure_loafing
from mmst.analysis.logit_amplitude import (
    Amplitudes,
    draw_amplitudes,
    format_amplitude_table,
    measure_amplitudes,
)
from tests.analysis.evaluation_by_hand import logits_by_hand, read
from tests.analysis.pictures import read_legend, read_names


def amplitudes(scores, norms):
    """Make those of the main network, and of a subnet if there are two."""
    scores, norms = (dict(zip(['main', '1-1'], x)) for x in (scores, norms))
    return Amplitudes('accuracy/top1', scores, norms)


RESULTS = dict(
    CT=amplitudes([90.0, 40.0], [12.0, 3.0]),
    ST=amplitudes([91.0, 80.0], [9.0, 5.0]),
)
#: A head that normalises logits in training, around the network's own.
ST = dict(
    custom_imports=dict(imports=['mmst']),
    model__head=dict(
        _delete_=True,
        type='mmst.STClsHead',
        normalize_main=True,
        loss_kl=dict(type='mmst.KLMinusLoss', normalize='l2'),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=64),
    ),
)


@pytest.mark.parametrize('options', [{}, ST], ids=['CT', 'ST++'])
def test_amplitudes_by_hand(load, options):
    """They are those of raw logits, with the subnet's own statistics."""
    runner = load(train_dataloader__batch_size=3, **options)
    networks = {'main': None, '1-2-1-1': (1, 2, 1, 1)}
    found = measure_amplitudes(runner, None, 2, [(1, 2, 1, 1)])
    scores = measure_loafing(runner, None, 2, [(1, 2, 1, 1)])
    assert (found.metric, found.scores) == scores
    model = runner.model
    fit, _ = read(runner.train_dataloader.dataset)
    images, _ = read(runner.val_dataloader.dataset)
    for name, depths in networks.items():
        logits = logits_by_hand(
            model.backbone,
            model.head.fc,
            depths,
            fit[:3].float(),
            images.float(),
        )
        norm = logits.double().pow(2).sum(1).sqrt().mean().item()
        assert found.amplitudes[name] == pytest.approx(norm, rel=1e-4)
    assert len(set(found.amplitudes.values())) == 2


def test_table():
    head, *rows = format_amplitude_table(RESULTS).splitlines()
    assert head.split('  ')[-1].strip() == 'accuracy/top1 (%)'
    assert [row.split() for row in rows] == [
        ['CT', 'main', '12.000', '90.00'],
        ['CT', '1-1', '3.000', '40.00'],
        ['ST', 'main', '9.000', '91.00'],
        ['ST', '1-1', '5.000', '80.00'],
    ]


def lines(axes):
    return [bars[0].get_ydata().tolist() for bars in axes.containers]


def test_picture():
    figure = draw_amplitudes(RESULTS)
    above, below = figure.axes
    assert lines(above) == [[3, 12], [5, 9]]
    assert lines(below) == [[40, 90], [80, 91]]
    assert read_names(below) == ['1-1', 'main']
    assert above.get_ylabel() == 'mean L2 norm of logits'
    assert below.get_ylabel() == 'accuracy/top1 (%)'
    assert read_legend(figure) == ['CT', 'ST']
    # As in the paper, where no subnets are measured.
    only_main = dict(
        CT=amplitudes([90.0], [12.0]), ST=amplitudes([91.0], [9.0])
    )
    above, below = draw_amplitudes(only_main).axes
    assert lines(above) == [[12, 9]] and lines(below) == [[90, 91]]
    assert read_names(below) == ['CT', 'ST']
