"""``demo/detectors.py``: subnets of a detector beside detectors alone."""

import json

import pytest
from mmengine.config import Config

from mmst.analysis.training_log import read_training_log
from tests.conftest import ROOT


@pytest.fixture
def demo(load_tool):
    pytest.importorskip('mmdet')
    return load_tool('demo/detectors')


@pytest.mark.slow
def test_two_depths(
    demo, commands, digit_scenes, few_digits, tmp_path, monkeypatch, capfd
):
    """FCOS on three scenes, two depths; a second call trains nothing."""
    monkeypatch.syspath_prepend(str(ROOT / 'demo'))
    root = f'{digit_scenes}/coco/'
    framework = demo.FRAMEWORK
    small = {
        **framework.options,
        'train_dataloader.dataset.data_root': root,
        'val_dataloader.dataset.data_root': root,
        'val_evaluator.ann_file': f'{root}annotations/instances_val2017.json',
        'train_dataloader.batch_size': 2,
        'default_hooks.logger.interval': 1,
        # Untrained detectors are sure of nothing.
        'model.test_cfg.score_thr': 0.0,
    }
    framework = framework._replace(length=4, options=small)
    monkeypatch.setattr(demo, 'FRAMEWORK', framework)
    networks = {'1-1-1-1': 10, '2-2-2-2': 18}
    monkeypatch.setattr(demo, 'NETWORKS', networks)
    for key, value in {
        'train_dataloader.dataset.data_root': few_digits,
        'val_dataloader.dataset.data_root': few_digits,
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 16,
        'train_dataloader.dataset.pipeline.1.padding': 0,
    }.items():
        monkeypatch.setitem(demo.PRETRAINING, key, value)
    args = ['--seeds', '0', '--jobs', '1', '--work-dir', str(tmp_path)]
    demo.main(args)
    table = capfd.readouterr().out
    written = json.loads((tmp_path / 'detectors.json').read_text())
    star, untrained, same, shorter = written['results'].values()
    assert [*map(list, (*star, *untrained))] == 2 * [[*networks]]
    ratio = {
        network: written['seconds']['ST*'][0] / seconds[0]
        for network, seconds in written['seconds'].items()
    }
    for network, epochs in written['epochs'].items():
        assert epochs == round(4 * ratio[network] / 2)
        for length, (scores,) in ((4, same), (epochs, shorter)):
            folder = tmp_path / network / f'{length}epochs/seed0'
            log = read_training_log(str(folder))
            found = log.metrics[log.iterations]['coco/bbox_mAP']
            assert scores[network] == pytest.approx(100 * found)
            (config,) = folder.glob('*.py')
            backbone = Config.fromfile(str(config)).model.backbone
            assert backbone.depth == networks[network]
    # Each depth alone begins with the subnet of the pretrained network.
    exported = tmp_path / 'backbones/1-1-1-1'
    (config,) = (tmp_path / '1-1-1-1/4epochs/seed0').glob('*.py')
    begun = Config.fromfile(str(config)).model.backbone.init_cfg.checkpoint
    assert begun == str(next(exported.glob('*.pth')))
    assert 'alone, 1/2 of the time of ST*' in table
    assert (tmp_path / 'detectors.png').exists()
    trained = len(commands)
    demo.main(args)
    assert len(commands) == trained
