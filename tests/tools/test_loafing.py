"""The loafing tool: table, numbers and picture; bad input."""

import pytest

from mmst.analysis.loafing import format_loafing_table
from mmst.evaluation import evaluate_subnet
from mmst.launch.trained_runner import load_trained_runner
from tests.conftest import forget_earlier_runs


@pytest.fixture(scope='module')
def run(trained, config):
    return ('--run', 'ST', config, str(trained / 'epoch_1.pth'))


@pytest.fixture
def score(config, trained, tmp_path):
    """Top-1 of a network, measured without the tool."""

    def score(depths):
        forget_earlier_runs()
        runner = load_trained_runner(
            config, str(trained / 'epoch_1.pth'), tmp_path / 'score'
        )
        return evaluate_subnet(runner, depths)['accuracy/top1']

    return score


def test_main_network_and_subnets(analyse, run, score, tmp_path, capsys):
    """Two runs of a name are seeds of one method."""
    out = tmp_path / 'deep' / 'out'
    other = ('--run', 'other', *run[2:])
    capsys.readouterr()
    written = analyse('loafing', out, *run, *run, *other)
    printed, told = capsys.readouterr()
    scores = {
        'main': score(None),
        '1-1-1-1': score((1, 1, 1, 1)),
        '2-2-2-2': score((2, 2, 2, 2)),
    }
    results = dict(ST=[scores, scores], other=[scores])
    assert written == dict(
        metric='accuracy/top1', rule='greater', results=results
    )
    # The table is the last of a few lines; the config is in none.
    files = f'Written to {out}/loafing.json and {out}/loafing.png'
    table = format_loafing_table(results)
    assert printed == f'{files}\naccuracy/top1 (%)\n{table}\n'
    assert 'ResNet_CIFAR' not in told


def test_chosen_subnets_and_a_network_alone(analyse, run, tmp_path, score):
    """One trained alone stands at the subnet of its depths, scored as well."""
    results = analyse(
        'loafing',
        tmp_path / 'out',
        *run,
        '--depths',
        '1-2-1-2',
        '--alone',
        'alone',
        *run[2:],
    )['results']
    assert list(results) == ['ST', 'alone']
    assert list(results['ST'][0]) == ['main', '1-2-1-2', '2-2-2-2']
    assert results['ST'][0]['1-2-1-2'] == score((1, 2, 1, 2))
    assert results['alone'] == [{'2-2-2-2': score(None)}]


def test_options_reach_the_config(analyse, run, tmp_path):
    results = analyse(
        'loafing',
        tmp_path / 'out',
        *run,
        '--depths',
        '--metric',
        'accuracy/top2',
        '--cfg-options',
        'val_evaluator.topk=(2,)',
    )
    assert results['metric'] == 'accuracy/top2'
    assert results['results'] == dict(ST=[{'main': 100.0}])  # of two classes


@pytest.mark.parametrize(
    'error, message, args',
    [
        (ValueError, 'depth 3 of stage 1 in depths', ['--depths', '3-1-1-1']),
        (
            ValueError,
            'has 3 entries, but the network has 4',
            ['--depths', '1-1-1'],
        ),
        (SystemExit, '2', ['--depths', '1,1,1']),
        (
            ValueError,
            r"metric 'mAP' is not .*\['accuracy/top1'\]",
            ['--metric', 'mAP'],
        ),
        (ValueError, 'num_samples 0', ['--num-samples', '0']),
        (
            ValueError,
            r'layer1\.2\.conv1\.weight',
            ['--cfg-options', 'model.backbone.depth=34'],
        ),
        (
            ValueError,
            'set val_dataloader',
            [
                '--cfg-options',
                'val_dataloader=None',
                'val_evaluator=None',
                'val_cfg=None',
            ],
        ),
        (
            FileNotFoundError,
            'nowhere',
            ['--cfg-options', 'val_dataloader.dataset.data_root=nowhere'],
        ),
    ],
)
def test_bad_input_leaves_nothing(refuse, run, tmp_path, error, message, args):
    refuse('loafing', tmp_path / 'out', error, message, *run, *args)


def test_missing_checkpoint(refuse, config, tmp_path):
    refuse(
        'loafing',
        tmp_path / 'out',
        FileNotFoundError,
        'no.pth',
        '--run',
        'a',
        config,
        'no.pth',
    )
