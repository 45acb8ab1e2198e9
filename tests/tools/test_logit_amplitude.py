"""The tool for logit amplitudes."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmst.analysis.logit_amplitude import Amplitudes, format_amplitude_table
from mmst.launch.trained_runner import load_trained_runner


@pytest.fixture(scope='module')
def run(trained, config):
    return ('--run', 'CT', config, str(trained / 'epoch_1.pth'))


def test_table_numbers_and_picture(analyse, run, tmp_path, capsys):
    results = analyse(
        'logit_amplitude', tmp_path / 'out', *run, '--run', 'other', *run[2:]
    )
    assert list(results) == ['CT', 'other']
    assert results['CT'] == results['other']
    assert list(results['CT']['amplitudes']) == ['main', '1-1-1-1', '2-2-2-2']
    table = format_amplitude_table(
        {name: Amplitudes(**result) for name, result in results.items()}
    )
    assert table in capsys.readouterr().out
    # The four images through the bare model.
    runner = load_trained_runner(*run[2:], tmp_path / 'again')
    root = runner.cfg.data_root + '/train'
    pixels = np.stack(
        [
            np.asarray(Image.open(f'{root}/{label}/{label}{index}.png'))[
                ..., ::-1
            ]
            for label in 'ab'
            for index in range(2)
        ]
    )
    images = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    runner.model.eval()
    with torch.no_grad():
        logits = runner.model(images).numpy()
    assert results['CT']['amplitudes']['main'] == pytest.approx(
        np.sqrt((logits**2).sum(1)).mean(), rel=1e-5
    )


@pytest.mark.parametrize(
    'error, message, args',
    [
        (ValueError, 'depth 9 of stage 1', ['--depths', '9-1-1-1']),
        (
            ValueError,
            'backbone.conv1.weight',
            ['--cfg-options', 'model.backbone.stem_channels=4'],
        ),
    ],
)
def test_bad_input_leaves_nothing(refuse, run, tmp_path, error, message, args):
    refuse('logit_amplitude', tmp_path / 'out', error, message, *run, *args)
