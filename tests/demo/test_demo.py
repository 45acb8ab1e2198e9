"""The demo's training and scoring, on a few images and for three epochs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

from mmst.analysis.loafing import format_loafing_table
from tests.analysis.evaluation_by_hand import logits_by_hand
from tests.conftest import ROOT, load_run


@pytest.fixture
def options(few_digits_options) -> list:
    return [
        *few_digits_options,
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=3',
    ]


def images_of(folder: Path):
    """All images of a folder of classes, normalised, and their labels."""
    files = sorted(folder.glob('*/*.png'))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    images = (torch.tensor(pixels).permute(0, 3, 1, 2) - 127.5) / 63.75
    return images, torch.tensor([int(file.parent.name) for file in files])


def top1_by_hand(method: str, checkpoint: Path, depths, data: Path) -> float:
    """Top-1 in percent, in plain PyTorch."""
    cfg = Config.fromfile(f'configs/demo/resnet20_{method}_mnistm5k.py')
    model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    model.load_state_dict(load_run(checkpoint)['state_dict'])
    fit, _ = images_of(data / 'train')
    images, labels = images_of(data / 'val')
    logits = logits_by_hand(model.backbone, model.head.fc, depths, fit, images)
    return 100 * (logits.argmax(1) == labels).float().mean().item()


def test_runs_are_compared_and_what_is_done_is_not_done_again(
    load_tool, few_digits, options, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(ROOT)
    main = load_tool('demo/classification').main
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
        for name, score in scores.items():
            depths = (
                None if name == 'main' else tuple(map(int, name.split('-')))
            )
            assert score == pytest.approx(
                top1_by_hand(
                    method, folder / 'epoch_3.pth', depths, few_digits
                )
            ), (label, name)
        assert len(set(scores.values())) > 1
        assert f'{label} seed 0: Epoch(train)' in first
    assert format_loafing_table(results) in first
    gain = results['ST++'][0]['main'] - results['CT'][0]['main']
    assert f'ST++ main network minus CT: {gain:+.2f} points (one' in first
    ratio, epochs = re.search(
        r'ST\+\+ costs ([\d.]+) times as much as CT.* CT of (\d+) epochs\n',
        first,
    ).groups()
    # Three subnets of two thirds of the work each, at smaller inputs.
    assert 2 < float(ratio) < 3
    assert int(epochs) == round(3 * float(ratio))
    with Image.open(work_dir / 'demo.png') as image:
        assert image.format == 'PNG' and len(image.getcolors(2**24)) > 10
    files = list(work_dir.glob('*/**/*'))
    before = [file.stat().st_mtime_ns for file in files]
    main([*args, str(work_dir), *options])
    again = capfd.readouterr().out
    assert again.splitlines()[-12:] == first.splitlines()[-12:]
    assert [file.stat().st_mtime_ns for file in files] == before
    for _ in range(2):  # the second time nothing is trained
        main([*args, str(work_dir), '--equal-cost', *options])
        last = capfd.readouterr().out
    assert 'Epoch(train)' not in last
    folder = work_dir / f'ct-{epochs}epochs/seed0'
    reached, smallest = (
        top1_by_hand('ct', folder / f'epoch_{epochs}.pth', depths, few_digits)
        for depths in (None, (1, 1, 1))
    )
    written = json.loads((work_dir / 'demo.json').read_text())
    (scores,) = written['costs']['ST++']['scores']
    assert scores['main'] == pytest.approx(reached)
    assert scores['1-1-1'] == pytest.approx(smallest)
    ahead = results['ST++'][0]['main'] - reached
    assert (
        f'CT of {epochs} epochs, which reaches {reached:.2f} %: '
        f'{ahead:+.2f} points for ST++\n'
    ) in last
    # Stopped between its last checkpoint and its validation.
    (log,) = folder.glob('*/vis_data/scalars.json')
    (validation,) = [line for line in log.open() if 'accuracy' in line]
    log.write_text(log.read_text().replace(validation, ''))
    (folder / 'loafing/loafing.json').unlink()
    demo = load_tool('demo/classification')
    parsed = demo.parse_args([*args, str(work_dir), *options])
    times = set()
    for _ in range(2):  # the second time nothing is scored
        score = demo.score_main(
            'CT',
            demo.find_config('ct'),
            folder,
            demo.list_options(0, int(epochs), parsed),
        )
        assert score == pytest.approx(reached)
        times.add((folder / 'loafing/loafing.json').stat().st_mtime_ns)
    assert len(times) == 1


def test_a_failed_run_is_named_with_its_log(load_tool, options, tmp_path):
    with pytest.raises(
        RuntimeError, match=f'CT seed 0 failed .* {tmp_path}/ct/seed0/output'
    ):
        load_tool('demo/classification').main(
            ['--methods', 'ct', '--work-dir', str(tmp_path), *options]
            + ['model.backbone.depth=3']
        )
    log = (tmp_path / 'ct/seed0/output.txt').read_text()
    assert 'CIFARResNet: depth 3 is not 6n + 2' in log
    assert not (tmp_path / 'demo.json').exists()


def test_other_settings_need_a_folder_of_their_own(load_tool, capfd):
    with pytest.raises(SystemExit):
        load_tool('demo/classification').main(
            ['--cfg-options', 'train_cfg.max_epochs=1']
        )
    assert '--cfg-options needs --work-dir' in capfd.readouterr().err


def test_a_comparison_with_ct_at_equal_cost_needs_ct(load_tool, capfd):
    with pytest.raises(SystemExit):
        load_tool('demo/classification').main(
            ['--methods', 'st', 'stpp', '--equal-cost']
        )
    error = capfd.readouterr().err
    assert '--equal-cost compares with CT' in error and 'st stpp' in error
