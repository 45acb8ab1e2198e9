"""The tool for effective receptive fields."""

import pytest

from mmst.analysis.receptive_field import (
    choose_stage,
    load_input_images,
    measure_receptive_field,
    measure_square_side,
)
from mmst.launch.trained_runner import load_trained_runner


@pytest.fixture(scope='module')
def run(trained, config):
    return ('--run', 'CT', config, str(trained / 'epoch_1.pth'))


def test_table_numbers_and_picture(analyse, run, tmp_path, capsys):
    results = analyse(
        'receptive_field',
        tmp_path / 'out',
        *run,
        '--stage',
        'layer2',
        '--sizes',
        '32',
        '24',
        '--depths',
        '1-1-1-1',
    )
    assert [(r['run'], r['network'], r['size']) for r in results] == [
        ('CT', 'main', 32),
        ('CT', 'main', 24),
        ('CT', '1-1-1-1', 32),
        ('CT', '1-1-1-1', 24),
    ]
    runner = load_trained_runner(*run[2:], tmp_path / 'again')
    field = measure_receptive_field(
        runner.model,
        load_input_images(runner, 32, 4),
        choose_stage(runner.model, 'layer2'),
    )
    assert results[0]['sides'] == {
        f'{share}%': measure_square_side(field, share / 100)
        for share in (20, 30, 50, 99)
    }
    line = next(
        line
        for line in capsys.readouterr().out.splitlines()
        if line.split()[:4] == ['CT', 'main', '32', 'px']
    )
    assert line.split()[4::2] == [
        str(side) for side in results[0]['sides'].values()
    ]


def test_noise_needs_no_images(analyse, run, tmp_path):
    (result,) = analyse(
        'receptive_field',
        tmp_path / 'out',
        *run,
        '--noise',
        '--depths',
        '--sizes',
        '32',
        '--num-images',
        '2',
        '--cfg-options',
        'val_dataloader.dataset.data_root=nowhere',
    )
    assert result['network'] == 'main'


@pytest.mark.parametrize(
    'error, message, args',
    [
        (
            ValueError,
            "stage 'layer9' is not one of .*layer4",
            ['--stage', 'layer9'],
        ),
        (ValueError, 'depth 9 of stage 1', ['--depths', '9-1-1-1']),
        (ValueError, 'must be at least 1', ['--num-images', '0']),
        (ValueError, 'must be at least 1', ['--sizes', '0']),
    ],
)
def test_bad_input_leaves_nothing(refuse, run, tmp_path, error, message, args):
    refuse('receptive_field', tmp_path / 'out', error, message, *run, *args)
