"""``demo/downstream.py``: its schedules, and what it reads from its runs."""

import copy
import json

import pytest
import torch
from mmengine.config import Config

from tests.conftest import ROOT, logged


@pytest.fixture
def demo(load_tool):
    return load_tool('demo/downstream')


def test_a_longer_schedule_falls_at_the_same_fractions(demo):
    """At twice the length each milestone and the end come twice as late."""
    for toolbox in ('mmdet', 'mmseg', 'mmpose'):
        pytest.importorskip(toolbox)
    for framework in demo.FRAMEWORKS.values():
        path = ROOT / 'configs' / framework.config.format('st-star')
        stock = Config.fromfile(path)
        *warm_up, own = stock.param_scheduler
        for times in (1, 2):
            length = times * framework.length
            config = copy.deepcopy(stock)
            config.merge_from_dict(framework.list_schedule(length))
            assert config.train_cfg[f'max_{framework.unit}'] == length
            assert config.train_cfg.val_interval == length
            *same, decay = config.param_scheduler
            assert same == warm_up and decay.end == length
            milestones = [times * epoch for epoch in framework.milestones]
            assert decay.get('milestones', []) == milestones
            if framework.config.startswith('st_det') and times == 1:
                assert milestones == own.milestones  # those of 1x


def test_equal_length_is_that_of_equal_time(demo, tmp_path):
    """Time of iterations, whatever validation and other load take."""

    def write(method: str, time: float) -> None:
        """Write the logs of a run that was stopped and went on."""
        step = dict(lr=0.1, time=time)
        validations = [dict(mIoU=1.0, time=70.0)] * 10
        starts = dict(first=[dict(step, time=50.0), step, *validations])
        starts['second'] = [step, step]
        for name in ('mask-rcnn', 'semantic-fpn'):
            for start, lines in starts.items():
                folder = tmp_path / name / method / f'seed0/{start}/vis_data'
                folder.mkdir(parents=True)
                text = '\n'.join(map(json.dumps, lines))
                (folder / 'scalars.json').write_text(text)

    write('st', 0.2)
    write('st-star', 0.31)
    args = demo.parse_args(
        '--frameworks mask-rcnn semantic-fpn --seeds 0 --equal-cost '
        f'--work-dir {tmp_path}'.split()
    )
    assert demo.find_equal_lengths(args) == {
        'mask-rcnn': dict(ratio=[1.55], length=19),  # 12 * 1.55 = 18.6
        'semantic-fpn': dict(ratio=[1.55], length=1860),
    }


def test_a_comparison_at_equal_cost_needs_both_methods(demo, capfd):
    with pytest.raises(SystemExit):
        demo.parse_args(['--methods', 'st', '--equal-cost'])
    error = capfd.readouterr().err
    assert '--equal-cost compares ST* with ST' in error and 'only st' in error


def test_longer_runs_are_made_and_compared(
    demo, commands, digit_scenes, tmp_path, monkeypatch, capfd
):
    """Semantic FPN on three scenes; a second call trains nothing."""
    pytest.importorskip('mmseg')
    framework = demo.FRAMEWORKS['semantic-fpn']
    root = f'{digit_scenes}/cityscapes/'
    small = {
        **framework.options,
        'train_dataloader.dataset.data_root': root,
        'val_dataloader.dataset.data_root': root,
        'default_hooks.logger.interval': 1,
        'train_dataloader.batch_size': 2,
    }
    framework = framework._replace(length=4, options=small)
    monkeypatch.setitem(demo.FRAMEWORKS, 'semantic-fpn', framework)
    # The pretraining, which would take minutes, left one layer.
    pretrained = tmp_path / 'pretrain'
    pretrained.mkdir()
    (pretrained / 'done').touch()
    (pretrained / 'last_checkpoint').write_text(f'{pretrained}/last.pth')
    weights = {'backbone.bn1.weight': torch.ones(16)}
    torch.save(dict(state_dict=weights), pretrained / 'last.pth')
    args = [
        *('--frameworks', 'semantic-fpn', '--seeds', '0', '--equal-cost'),
        *('--jobs', '1', '--work-dir', str(tmp_path)),
    ]
    demo.main(args)
    first = capfd.readouterr().out
    written = json.loads((tmp_path / 'demo_downstream.json').read_text())
    cost = written['costs']['semantic-fpn']
    assert cost['length'] == round(4 * cost['ratio'][0])
    scores = written['results']['semantic-fpn']['mIoU']
    assert list(scores) == ['st', 'st-star']
    for method, score, length in (
        ('st', scores['st'], 4),
        ('st-star', scores['st-star'], 4),
        (f'st-{cost["length"]}iters', cost['scores']['mIoU'], cost['length']),
    ):
        lines = logged(tmp_path / 'semantic-fpn' / method / 'seed0')
        assert max(line['step'] for line in lines) == length
        assert [line['mIoU'] for line in lines if 'mIoU' in line] == score
    gain = scores['st-star'][0] - cost['scores']['mIoU'][0]
    assert (
        f'ST of {cost["length"]} iters {cost["scores"]["mIoU"][0]:.2f}   '
        f'ST* - that {gain:+.2f}\n' in first
    )
    assert len(commands) == 3
    demo.main(args)
    assert len(commands) == 3
    # An earlier validation's score is not that of the end.
    folder = tmp_path / 'semantic-fpn/st/seed0'
    (file,) = folder.glob('*/vis_data/scalars.json')
    lines = [
        dict(line, step=2) if 'mIoU' in line else line
        for line in logged(folder)
    ]
    file.write_text('\n'.join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match='no mIoU at its end: .*delete'):
        demo.main(args)
