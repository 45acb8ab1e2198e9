"""Accuracy against the cost of training: runs, what is kept, the report."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode

from mmst.launch.configured_training import read_sampler
from tests.conftest import ROOT, load_run


@pytest.fixture(scope='module')
def report(load_tool):
    return load_tool('demo/frontier_report')


@pytest.fixture
def run_tool(load_tool, few_digits_options, tmp_path, capfd):
    """Call it for tiny runs in a folder; give the runs and what it printed."""

    def run_tool(*args: str) -> tuple:
        folders = ['--work-dir', tmp_path / 'work', '--out', tmp_path / 'out']
        load_tool('demo/frontier').main(
            [*map(str, [*args, *folders]), *few_digits_options]
        )
        text = (tmp_path / 'out/frontier.json').read_text()
        written = json.loads(text)
        assert written['metric'] == 'accuracy/top1'
        assert text.count('\n') == 2 + len(written['runs'])
        runs = {
            (run['arm'], run['epochs'], run['seed']): run
            for run in written['runs']
        }
        return runs, capfd.readouterr().out

    return run_tool


def plain_multiply_adds() -> float:
    """Of one image of 32 px, forward and backward, by PyTorch's counter."""
    config = Config.fromfile(ROOT / 'configs/demo/resnet20_ct_numbers10k.py')
    backbone = MODELS.build(config.model.backbone)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.zeros(1, 3, 32, 32))
    return 3 * counter.get_total_flops() / 2


def test_missing_runs_are_added(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    first, printed = run_tool(
        *('--arms', 'ct', 'stpp-late', '--epochs', '4', '--seeds', '0')
    )
    assert list(first) == [('ct', 4, 0), ('stpp-late', 4, 0)]
    assert '0 runs are done, 2 to do' in printed
    for (arm, _, _), run in first.items():
        (log,) = (tmp_path / f'work/{arm}/4epochs/seed0').glob(
            '*/vis_data/scalars.json'
        )
        last = json.loads(log.read_text().splitlines()[-1])
        assert run['score'] == pytest.approx(last['accuracy/top1'], abs=1e-4)
        assert last['step'] == 4
        assert run['iterations'] == 4 and run['cpu_seconds'] > 1
    ct, late = first.values()
    # An iteration an epoch, of 16 images; two of the four have subnets.
    assert ct['multiply_adds'] == pytest.approx(4 * 16 * plain_multiply_adds())
    assert 1.5 < late['multiply_adds'] / ct['multiply_adds'] < 2.5
    with Image.open(tmp_path / 'out/frontier.png') as image:
        assert image.format == 'PNG' and len(image.getcolors(2**24)) > 10
    # The file is enough, on another machine for instance.
    shutil.rmtree(tmp_path / 'work')
    both, printed = run_tool(
        '--arms', 'ct', '--epochs', '4', '--seeds', '0', '1'
    )
    assert '2 runs are done, 1 to do' in printed
    assert both.pop(('ct', 4, 1)) and both == first
    assert not (tmp_path / 'work/ct/4epochs/seed0').exists()
    (tmp_path / 'out/frontier.png').unlink()
    again, printed = run_tool('--report')
    assert len(again) == 3 and '3 runs are done, 0 to do' in printed
    assert (tmp_path / 'out/frontier.png').exists()


def test_cpu_time_of_a_part_is_not_that_of_the_whole(run_tool, tmp_path):
    folder = tmp_path / 'work/ct/3epochs/seed0'
    folder.mkdir(parents=True)  # as after a stop
    runs, _ = run_tool('--arms', 'ct', '--epochs', '3', '--seeds', '0')
    assert runs['ct', 3, 0]['cpu_seconds'] is None
    with Image.open(tmp_path / 'out/frontier.png') as image:
        assert image.width < image.height * 1.2  # one panel only


def test_other_settings_need_folders_of_their_own(load_tool, capfd):
    with pytest.raises(SystemExit):
        load_tool('demo/frontier').main(
            ['--out', 'x', '--cfg-options', 'model.backbone.depth=8']
        )
    assert '--cfg-options needs --work-dir and --out' in capfd.readouterr().err


def test_nothing_to_report(load_tool, tmp_path):
    with pytest.raises(SystemExit, match='no finished runs'):
        load_tool('demo/frontier').main(['--report', '--out', str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def arms(load_tool):
    return load_tool('demo/frontier_arms')


def describe(job) -> tuple:
    """What a training does with subnets, from its config."""
    config = Config.fromfile(ROOT / job.config)
    config.merge_from_dict(job.options)
    assert config.train_cfg.max_epochs == job.epochs
    assert config.randomness.seed == job.seed
    if job.arm == 'ct':
        assert 'custom_hooks' not in config
        return ()
    (hook,) = config.custom_hooks
    head = MODELS.build(config.model.head)
    sampler = read_sampler(config, MODELS.build(config.model.backbone), 125)
    return (
        head.loss_kl.normalize,
        head.normalize_main,
        sampler.num_subnets,
        min(sampler.space.depths[0]),
        hook.get('size_range') and list(hook.size_range),
        sampler.num_sizes,
        sampler.begin,
        sampler.every,
        head.subnet_target,
        head.loss_kl.loss_weight,
        *([] if head.loss_kl.scale == 1 else [head.loss_kl.scale]),
    )


def test_arms_are_what_their_names_say(load_tool, arms):
    tool = load_tool('demo/frontier')
    comparison = arms.COMPARISONS['resnet20']
    found = {name: describe(tool.Job(name, 20, 5)) for name in comparison.arms}
    released, plain_kl = ('standardize', True), (None, False)
    shared = (3, 2, [0.75, 1.0], 1, 0, 1, 'main', 1)
    full_size = (3, 2, None, *shared[3:])
    full = (1, None, None, 0, 1, 'main', 1)
    assert found == {
        'ct': (),
        'st': (*plain_kl, 1, *full),
        'stpp': (*released, 3, 2, [0.75, 1.0], None, 0, 1, 'main', 1),
        'stpp-shared': (*released, *shared),
        'stpp-all': (*released, 3, 1, *shared[2:]),
        'stpp-every2': (*released, *shared[:5], 2, 'main', 1),
        'stpp-late': (*released, *shared[:4], 1250, 1, 'main', 1),
        'stpp-full': (*released, *full_size),
        'stpp-kl': (*plain_kl, *shared),
        'stpp-kl-full': (*plain_kl, *full_size),
        'stpp-kl-half': (*plain_kl, 3, 2, [0.5, 1.0], *shared[3:]),
        'stpp-kl-k1': (*plain_kl, 1, *shared[1:]),
        'stpp-k1': (*released, 1, *shared[1:]),
        'stpp-scale2': (*released, *shared, 2),
        'stpp-label': (*released, 3, 2, [0.75, 1.0], None, 0, 1, 'label', 1),
        **{f'kl-k{k}': (*plain_kl, k, *full) for k in (2, 4)},
        **{f'l2-k{k}': ('l2', False, k, *full) for k in (1, 2, 4)},
        **{f'standardize-k{k}': (*released, k, *full) for k in (1, 2, 3, 4)},
        'standardize-k3-sit': (
            *(*released, 3, 1, [0.75, 1.0]),
            *(None, 0, 1, 'main', 1),
        ),
        'standardize-k3-min2': (*released, 3, 2, *full[1:]),
    }


def test_arms_of_the_vit_are_what_their_names_say(load_tool, arms):
    tool = load_tool('demo/frontier')
    comparison = arms.COMPARISONS['vit']
    found = {
        name: describe(tool.Job(name, 30, 5, 'vit'))
        for name in comparison.arms
    }
    plain_kl, rest = (None, False), (None, None)
    assert found == {
        'ct': (),
        'st': (*plain_kl, 1, 1, *rest, 0, 1, 'main', 1),
        'st-k3': (*plain_kl, 3, 1, *rest, 0, 1, 'main', 1),
        'st-standardize': (
            *('standardize', True, 1, 1),
            *(*rest, 0, 1, 'main', 1),
        ),
        'stpp': ('standardize', True, 3, 1, *rest, 0, 1, 'main', 1),
        'st-min4': (*plain_kl, 1, 4, *rest, 0, 1, 'main', 1),
        'st-weak': (*plain_kl, 1, 1, *rest, 0, 1, 'main', 0.1),
        'st-label': (*plain_kl, 1, 1, *rest, 0, 1, 'label', 1),
        'st-late': (*plain_kl, 1, 1, *rest, 1875, 1, 'main', 1),
        'st-weak-late': (*plain_kl, 1, 1, *rest, 1875, 1, 'main', 0.1),
    }


def test_names_of_arms_are_told_apart(arms):
    for comparison in arms.COMPARISONS.values():
        assert set(comparison.default) <= set(comparison.arms)
        labels = [arm.label for arm in comparison.arms.values()]
        assert len(set(labels)) == len(labels)


def test_unknown_arms_are_refused(load_tool, capfd):
    with pytest.raises(SystemExit):
        load_tool('demo/frontier').main(
            ['--of', 'vit', '--arms', 'stpp-late', '--report']
        )
    assert "'stpp-late' is none of ct, st, " in capfd.readouterr().err


def test_exits_of_a_vit_are_scored(
    load_tool, few_digits_options, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    args = ['--of', 'vit', '--arms', 'st', '--epochs', '3']
    folders = ['--work-dir', tmp_path / 'work', '--out', tmp_path / 'out']
    load_tool('demo/frontier').main(
        [*map(str, [*args, '--seeds', 0, *folders]), *few_digits_options]
    )
    (path,) = (tmp_path / 'out').iterdir()  # no picture: costs are equal
    assert path.name == 'frontier_vit.json'
    (run,) = json.loads(path.read_text())['runs']
    assert list(run['parts']) == ['main', *'123456']
    assert run['parts']['main'] == pytest.approx(run['score'], abs=1e-4)
    assert run['parts']['6'] == run['parts']['main']
    # Exits cost their heads alone, and the count is of the backbone: patches
    # of 4 px, and six layers on these and a class token.
    width, patches = 64, (32 // 4) ** 2
    tokens = patches + 1
    layer = (4 + 8) * width**2 * tokens + 2 * width * tokens**2
    image = 3 * 4**2 * width * patches + 6 * layer
    # Backward twice as much as forward; batches of 16, 3 epochs of one.
    assert run['multiply_adds'] == pytest.approx(3 * 16 * 3 * image, rel=0.02)


def test_pretraining_is_scored_by_what_follows(
    load_tool, few_digits_options, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    args = ['--of', 'mae', '--epochs', 3, '--seeds', 0]
    folders = ['--work-dir', tmp_path / 'work', '--out', tmp_path / 'out']
    short = ['train_cfg.max_epochs=3', 'train_cfg.val_interval=3']
    load_tool('demo/frontier').main(
        [*map(str, [*args, *folders]), *few_digits_options, *short]
    )
    runs = json.loads((tmp_path / 'out/frontier_mae.json').read_text())['runs']
    assert [run['arm'] for run in runs] == ['ct', 'st']
    for run in runs:
        folder = tmp_path / f'work/{run["arm"]}/3epochs/seed0'
        pretrained, probed, tuned = (
            load_run(folder / name / 'epoch_3.pth')['state_dict']
            for name in ('', 'probe', 'finetune')
        )
        same = [
            [
                torch.equal(after[name], pretrained[name])
                for name in pretrained
                if name.startswith('backbone.')
            ]
            for after in (probed, tuned)
        ]
        assert all(same[0]) and not any(same[1])
        assert run['iterations'] == 3
        assert list(run['parts']) == ['linear probe', 'fine-tuning']
        assert run['score'] == run['parts']['fine-tuning']
        for method, score in zip(('probe', 'finetune'), run['parts'].values()):
            (log,) = (folder / method).glob('*/vis_data/scalars.json')
            last = json.loads(log.read_text().splitlines()[-1])
            assert score == pytest.approx(last['accuracy/top1'], abs=1e-4)


def runs_of(report, arm, epochs, scores, cost, seconds=None) -> list:
    return [
        report.Run(arm, epochs, seed, score, 1, seconds, '', cost)
        for seed, score in enumerate(scores)
    ]


def test_table(report):
    runs = [
        *runs_of(report, 'ct', 40, [94.0, 96.0, 95.0], 4e12),
        *runs_of(report, 'ct', 10, [90.0, 92.0, 91.0], 1e12, 60.0),
        *runs_of(report, 'st', 10, [93.5], 2e12, 150.4),
        *runs_of(report, 'st', 40, [97.0, 98.0], 8e12),
    ]
    runs[5] = runs[5]._replace(cpu_seconds=None)
    lines = report.format_frontier(runs, dict(ct='CT', st='ST'), 'ct')
    head, *rows = (line.split() for line in lines.splitlines())
    half = stats.t.ppf(0.975, 2) * np.std([0, 1, 2], ddof=1) / 3**0.5
    mean = ['91.00', '+-', f'{half:.2f}']
    assert rows == [
        ['CT', '10', '3', *mean, '1.00', '60'],
        ['CT', '40', '3', '95.00', *mean[1:], '4.00', '-'],
        # Halfway between 1 and 4 by the ratio.
        'ST 10 1 93.50 +3.50 2.00 150 93.00'.split() + mean[1:],
        # 97 and 98 of 94 and 96; the third seed is CT's alone.
        'ST 40 2 97.50 +- 6.35 +2.50 +- 6.35 8.00 - -'.split(),
    ]
    assert lines.splitlines()[0].endswith('CT at that cost')


def test_table_of_parts(report):
    runs = [
        run._replace(parts={'probe': run.score, 'tuned': 90.0})
        for run in runs_of(report, 'st', 9, [80.0, 82.0], 1e12)
        + runs_of(report, 'ct', 9, [70.5], 1e12)
        + runs_of(report, 'ct', 5, [60.5], 1e12)
    ]
    table = report.format_parts(runs, dict(ct='CT', x='not run', st='ST'))
    head, *rows = (line.split() for line in table.splitlines())
    assert head == ['epochs', 'probe', 'tuned']
    half = stats.t.ppf(0.975, 1)  # of two values that are 2 apart
    assert rows == [
        ['CT', '5', '60.50', '90.00'],
        ['CT', '9', '70.50', '90.00'],
        f'ST 9 81.00 +- {half:.2f} 90.00 +- 0.00'.split(),
    ]
    without = [run._replace(parts=None) for run in runs]
    assert not report.format_parts(without, {})


@pytest.mark.parametrize(
    'cost, scores',
    [
        (1, [90, 80]),
        (10, [95, 86]),
        (100, [96]),
        (31.6, [95.5]),
        (0.9, []),
        (110, []),
    ],
)
def test_scores_between_lengths(report, cost, scores):
    """Of each seed that was trained for less and for more."""
    runs = [
        *runs_of(report, 'ct', 9, [96], 100),
        *runs_of(report, 'ct', 1, [90, 80], 1),
        *runs_of(report, 'ct', 3, [95, 86], 10),
    ]
    found = report.interpolate_scores(runs, cost)
    assert found == pytest.approx(scores, abs=0.01)
    assert report.interpolate_scores([], cost) == []


def test_picture(report):
    runs = [
        *runs_of(report, 'ct', 10, [90.0, 92.0], 1e12, 60.0),
        *runs_of(report, 'ct', 20, [94.0], 2e12, 120.0),
        *runs_of(report, 'st', 10, [93.0], 3e12),
    ]
    figure = report.draw_frontier(runs, dict(ct='CT', x='not run', st='ST'))
    costs, seconds = (
        [line[0].get_xdata().tolist() for line in axes.containers]
        for axes in figure.axes
    )
    assert costs == [[1, 2], [3]]
    assert seconds[0] == [60, 120] and np.isnan(seconds[1]).all()
    scores = [
        line[0].get_ydata().tolist() for line in figure.axes[0].containers
    ]
    assert scores == [[91, 94], [93]]
    assert figure.axes[0].get_ylim()[0] > 80  # in spite of wide intervals
    # Half the error is as far from it as a quarter from the half.
    accuracies = [(1, 90), (1, 95), (1, 97.5)]
    heights = figure.axes[0].transScale.transform(accuracies)[:, 1]
    assert np.diff(heights) == pytest.approx([np.log(2)] * 2)


def test_variants_are_in_the_table_only(
    load_tool, report, tmp_path, monkeypatch, capsys
):
    tool = load_tool('demo/frontier')
    drawn = []

    def draw(runs, arms):
        drawn.append({run.arm for run in runs})
        return report.draw_frontier(runs, arms)

    monkeypatch.setattr(tool, 'draw_frontier', draw)
    runs = [
        run._replace(iterations=10)
        for arm in ('ct', 'stpp-shared', 'stpp-scale2')
        for run in runs_of(report, arm, 10, [90.0], 1e12, 60.0)
    ]
    for some in (runs, runs[2:]):
        lines = ',\n'.join(json.dumps(run._asdict()) for run in some)
        (tmp_path / 'frontier.json').write_text(f'{{"runs": [{lines}]}}')
        tool.main(['--report', '--out', str(tmp_path)])
    assert drawn == [{'ct', 'stpp-shared'}, {'stpp-scale2'}]
    assert capsys.readouterr().out.count('scale 2') == 2


def test_cost_is_counted_once_for_all_seeds(
    load_tool, report, tmp_path, monkeypatch
):
    tool = load_tool('demo/frontier')
    counted = []

    def count(log, metric):
        counted.append(log.iterations)
        return measure_training_cost(log, metric)

    measure_training_cost = tool.measure_training_cost
    monkeypatch.setattr(tool, 'measure_training_cost', count)
    runs = [
        run._replace(iterations=10 * epochs)
        for epochs in (2, 4)
        for run in runs_of(report, 'ct', epochs, [90.0, 91.0], float('nan'))
    ]
    lines = ',\n'.join(json.dumps(run._asdict()) for run in runs)
    path = tmp_path / 'frontier.json'
    path.write_text(f'{{"runs": [{lines}]}}')
    tool.main(['--report', '--out', str(tmp_path)])
    assert counted == [20, 40]
    costs = [
        run['multiply_adds'] for run in json.loads(path.read_text())['runs']
    ]
    batch = 64 * plain_multiply_adds()
    assert costs == pytest.approx([20 * batch] * 2 + [40 * batch] * 2)
