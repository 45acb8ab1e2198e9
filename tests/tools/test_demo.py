"""The demo's training and scoring, on a few images and for three epochs."""

import json

import numpy as np
import pytest
from PIL import Image

from mmst.analysis.loafing import loafing_table


@pytest.fixture(scope='module')
def options(tmp_path_factory) -> list:
    """What makes the demo's configs train for a second, on two classes."""
    data = tmp_path_factory.mktemp('mnistm5k')
    generator = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in '01':
            folder = data / split / label
            folder.mkdir(parents=True)
            for index in range(8):
                pixels = generator.integers(
                    256, size=(32, 32, 3), dtype=np.uint8
                )
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return [
        '--cfg-options',
        f'train_dataloader.dataset.data_root={data}',
        f'val_dataloader.dataset.data_root={data}',
        'train_dataloader.batch_size=8',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
    ]


def test_runs_are_compared_and_what_is_done_is_not_done_again(
    load_tool, options, tmp_path, capfd
):
    main = load_tool('demo').main
    work_dir = tmp_path / 'demo'
    args = ['--methods', 'ct', 'stpp', '--seeds', '0', '--work-dir']
    main([*args, str(work_dir), *options])
    first = capfd.readouterr().out
    written = json.loads((work_dir / 'demo.json').read_text())
    results = written['results']
    assert (written['metric'], written['seeds']) == ('accuracy/top1', [0])
    assert list(results) == ['CT', 'ST++']
    for label, method in (('CT', 'ct'), ('ST++', 'stpp')):
        folder = work_dir / method / 'seed0'
        (log,) = folder.glob('*/vis_data/scalars.json')
        steps = [json.loads(line) for line in log.read_text().splitlines()]
        assert steps[-1]['step'] == 3
        # The main network as the training's own validation scored it.
        (scores,) = results[label]
        assert scores['main'] == steps[-1]['accuracy/top1']
        assert list(scores) == ['main', '1-1-1', '2-2-2', '3-3-3']
        assert f'{label} seed 0: Epoch(train)' in first
    assert loafing_table(results) in first
    gain = results['ST++'][0]['main'] - results['CT'][0]['main']
    assert f'ST++ main network minus CT: {gain:+.2f} points (one' in first
    with Image.open(work_dir / 'demo.png') as image:
        assert image.format == 'PNG' and len(image.getcolors(2**24)) > 10
    files = list(work_dir.glob('*/**/*'))
    before = [file.stat().st_mtime_ns for file in files]
    main([*args, str(work_dir), *options])
    again = capfd.readouterr().out
    assert again.splitlines()[-12:] == first.splitlines()[-12:]
    assert [file.stat().st_mtime_ns for file in files] == before


def test_a_failed_run_is_named_with_its_log(load_tool, options, tmp_path):
    with pytest.raises(
        RuntimeError, match=f'CT seed 0 failed .* {tmp_path}/ct/seed0/output'
    ):
        load_tool('demo').main(
            ['--methods', 'ct', '--work-dir', str(tmp_path), *options]
            + ['model.backbone.depth=3']
        )
    log = (tmp_path / 'ct/seed0/output.txt').read_text()
    assert 'CIFARResNet: depth 3 is not 6n + 2' in log
    assert not (tmp_path / 'demo.json').exists()


def test_other_settings_need_a_folder_of_their_own(load_tool, capfd):
    with pytest.raises(SystemExit):
        load_tool('demo').main(['--cfg-options', 'train_cfg.max_epochs=1'])
    assert '--cfg-options needs --work-dir' in capfd.readouterr().err
