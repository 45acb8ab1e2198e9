"""Ways of training compared: runs, what is kept, tables and pictures."""

import json
import re
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
from tests.conftest import ROOT, load_run, logged


@pytest.fixture
def tool(load_tool):
    return load_tool('demo/compare')


@pytest.fixture
def report(load_tool):
    return load_tool('demo/report')


@pytest.fixture(scope='module')
def arms(load_tool):
    return load_tool('demo/arms')


@pytest.fixture
def compare(tool, commands, few_digits, tmp_path, capfd):
    """Call it for tiny runs in a folder; give the runs and what it printed."""

    def compare(args: str, name: str = 'demo') -> tuple:
        del commands[:]
        tool.main(
            [
                *args.split(),
                *('--jobs', '1', '--work-dir', str(tmp_path)),
                '--cfg-options',
                f'train_dataloader.dataset.data_root={few_digits}',
                f'val_dataloader.dataset.data_root={few_digits}',
                'train_dataloader.batch_size=16',
                'train_dataloader.dataset.pipeline.1.padding=0',
            ]
        )
        text = (tmp_path / f'{name}.json').read_text()
        written = json.loads(text)
        assert written['metric'] == 'accuracy/top1'
        assert text.count('\n') == 2 + len(written['runs'])
        runs = {
            (run['arm'], run['epochs'], run['seed']): run
            for run in written['runs']
        }
        return runs, capfd.readouterr().out

    return compare


def plain_flops(depth: int = 20) -> float:
    """Count an image of 32 px, forward and backward, by PyTorch."""
    config = Config.fromfile(ROOT / 'configs/demo/resnet20_ct_numbers10k.py')
    backbone = MODELS.build(dict(config.model.backbone, depth=depth))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.zeros(1, 3, 32, 32))
    return 3 * counter.get_total_flops() / 2


def test_digits(compare, commands, tmp_path):
    """Equal epochs and equal cost; what is done is not done again."""
    runs, printed = compare('--arms ct stpp --epochs 3 --equal-cost')
    ratio = runs['stpp', 3, 0]['multiply_adds'] / (3 * 16 * plain_flops())
    # Three subnets of two thirds of the work each, at smaller inputs.
    assert 2 < ratio < 3
    longer = round(3 * ratio)
    assert list(runs) == [('ct', 3, 0), ('ct', longer, 0), ('stpp', 3, 0)]
    for (arm, epochs, _), run in runs.items():
        folder = tmp_path / f'{arm}/{epochs}epochs/seed0'
        last = logged(folder)[-1]
        assert (run['iterations'], last['step']) == (epochs, epochs)
        assert run['score'] == pytest.approx(last['accuracy/top1'], abs=1e-4)
        assert run['cpu_seconds'] == 1.5
        assert list(run['parts']) == ['main', '1-1-1', '2-2-2', '3-3-3']
        assert run['parts']['main'] == pytest.approx(run['score'], abs=1e-4)
        assert len(set(run['parts'].values())) > 1
        if arm == 'ct':
            flops = epochs * 16 * plain_flops()
            assert run['multiply_adds'] == pytest.approx(flops)
    equal = runs['ct', longer, 0]['score']
    ahead = runs['stpp', 3, 0]['score'] - equal
    rows = [line.split() for line in printed.splitlines()]
    row = next(row for row in rows if row[:2] == ['ST++', '3'])
    assert row[-2:] == [f'{equal:.2f}', f'{ahead:+.2f}']
    with Image.open(tmp_path / 'demo.png') as image:
        assert image.format == 'PNG' and len(image.getcolors(2**24)) > 10

    # The file is enough, on another machine for instance.
    (tmp_path / 'ct').rename(tmp_path / 'moved')
    again, same = compare('--arms ct stpp --epochs 3 --equal-cost')
    assert again == runs and not commands
    assert same.count('2 of 2 runs are done') == 2
    begin = printed.index('top-1 (%)')
    assert same.endswith(printed[begin:])

    # Stopped between its last checkpoint and its validation.
    (tmp_path / 'moved').rename(tmp_path / 'ct')
    folder = tmp_path / 'ct/3epochs/seed0'
    (log,) = folder.glob('*/vis_data/scalars.json')
    log.write_text(
        ''.join(line for line in log.open() if 'accuracy' not in line)
    )
    shutil.rmtree(folder / 'loafing')
    (tmp_path / 'demo.json').unlink()
    resumed, _ = compare('--arms ct --epochs 3')
    # Time of a part is not that of the whole.
    expected = dict(runs['ct', 3, 0], cpu_seconds=None)
    assert resumed == {('ct', 3, 0): expected}


def test_exits_of_a_vit(compare, tmp_path):
    runs, _ = compare('--of vit --arms st --epochs 3', 'frontier_vit')
    assert not list(tmp_path.glob('*.png'))  # costs are equal
    (run,) = runs.values()
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
    compare, tool, tmp_path, monkeypatch
):
    length = {'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 3}
    monkeypatch.setattr(tool, 'TUNING_SPLIT', length)
    runs, printed = compare(
        '--of mae --tune --arms st --epochs 3', 'frontier_mae_tune'
    )
    (run,) = runs.values()
    folder = tmp_path / 'st/3epochs/seed0'
    pretrained, probed, tuned = (
        load_run(folder / name / 'epoch_3.pth')['state_dict']
        for name in ('', 'probe', 'finetune')
    )
    for name, before in pretrained.items():
        if name.startswith('backbone.'):
            assert torch.equal(before, probed[name])
            assert not torch.equal(before, tuned[name])
    assert run['iterations'] == 3
    assert list(run['parts']) == ['linear probe', 'fine-tuning']
    assert run['score'] == run['parts']['fine-tuning']
    for method, score in zip(('probe', 'finetune'), run['parts'].values()):
        last = logged(folder / method)[-1]
        assert score == pytest.approx(last['accuracy/top1'], abs=1e-4)
    assert 'linear probe  fine-tuning' in printed


def test_family(compare, tmp_path):
    """A family of ResNet-32 against two networks alone, as many FLOPs each."""
    runs, printed = compare(
        '--of family --arms stpp 1-1-1 4-4-4 --epochs 2 --equal-cost 2 all',
        'family',
    )
    family = runs['stpp', 2, 0]
    networks = [f'{n}-{n}-{n}' for n in (1, 2, 3, 4, 5)]
    assert list(family['parts']) == [
        *('main', *networks),
        *(f'{name} at {px} px' for px in (24, 28) for name in networks[::-1]),
    ]
    assert family['parts']['5-5-5'] == pytest.approx(family['score'], abs=3)
    cells = [line.split() for line in printed.splitlines()]
    expected = {('stpp', 2, 0)}
    for network, depth in (('1-1-1', 8), ('4-4-4', 26)):
        flops = 2 * 16 * plain_flops(depth)
        alone = runs[network, 2, 0]
        assert alone['multiply_adds'] == pytest.approx(flops)
        # Half of the family's FLOPs; of 125 subnets each has next to none.
        epochs = round(family['multiply_adds'] / flops)
        assert epochs > 1
        expected |= {(network, 2, 0), (network, epochs, 0)}
        ours = family['parts'][network]
        score = runs[network, epochs, 0]['score']
        row = [network, f'{plain_flops(depth) / 3e6:.1f}', f'{ours:.2f}']
        row += ['1/2', 'of', 'its', 'FLOPs', f'{epochs}', '1']
        assert [*row, f'{score:.2f}', f'{ours - score:+.2f}'] in cells
        row[3:] = '1/125 of its FLOPs - 0 - -'.split()
        assert row in cells
    assert {*runs} == expected
    assert (tmp_path / 'family.png').exists()


@pytest.mark.parametrize(
    'args, message',
    [
        ('--cfg-options a=1', '--cfg-options needs --work-dir'),
        ('--of vit --arms stpp-late', "'stpp-late' is none of ct, st, "),
        ('--arms st stpp --equal-cost', '--arms has none of ct'),
        ('--equal-cost 0', "--equal-cost: invalid share value: '0'"),
    ],
)
def test_wrong_arguments(tool, capfd, args, message):
    with pytest.raises(SystemExit):
        tool.main(args.split())
    assert message in ' '.join(capfd.readouterr().err.split())


def test_nothing_to_report(tool, tmp_path):
    with pytest.raises(SystemExit, match='no finished runs'):
        tool.main(['--report', '--out', str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_failed_command_is_named_with_its_log(load_tool, tmp_path, capfd):
    run_logged = load_tool('demo/run_logged').run_logged
    program = 'import os; print("Epoch(train) [1]", os.getcwd()); '
    command = ['python', '-c', f'{program}sum(range(10**6))']
    log = tmp_path / 'output.txt'
    assert 0 < run_logged('CT', command, log) < 30
    assert log.read_text() == f'Epoch(train) [1] {ROOT}\n'
    assert capfd.readouterr().out == f'CT: {log.read_text()}'
    command[-1] += '; exit(3)'
    with pytest.raises(RuntimeError, match=f'CT failed .* 3: see {log}'):
        run_logged('CT', command, log)
    assert log.read_text().count('Epoch') == 2


SITRANS = [0.75, 1.0]
#: Settings of ST on a digit or a number.
ST = dict(
    normalize=None,
    normalize_main=False,
    scale=1,
    weight=1,
    target='main',
    num_subnets=1,
    min_depth=1,
    sizes=None,
    num_sizes=None,
    begin=0,
    every=1,
    strategy='ordered',
    sandwich=False,
    chained=False,
    running_stats=False,
)
KL_MINUS = dict(normalize='standardize', normalize_main=True)
#: Parts of the arms' labels -> what they say of the settings, in this order.
PARTS = {
    r'ST\+\+': dict(KL_MINUS, num_subnets=3, sizes=SITRANS),
    'KL-': KL_MINUS,
    r'\(l2\)': dict(normalize='l2', normalize_main=False),
    'plain KL': dict(normalize=None, normalize_main=False),
    **{f'(K = |Snet){k}': dict(num_subnets=k) for k in range(1, 6)},
    'SITrans': dict(sizes=SITRANS),
    'one size|ResNet-32': dict(num_sizes=1),
    'full size': dict(sizes=None, num_sizes=None),
    'from 0.5': dict(sizes=[0.5, 1.0]),
    'InterSSR': dict(min_depth=2),
    'last exits': dict(min_depth=4),
    'all depths|ResNet-32': dict(min_depth=1),
    'every 2nd iteration': dict(every=2),
    'second half': dict(begin=1250),
    'from a fifth on': dict(begin=500),
    'sandwich': dict(sandwich=True),
    'scale 2': dict(scale=2),
    'weight 0.1': dict(weight=0.1),
    'labels': dict(target='label'),
    'labels and main': dict(target='both'),
    'stochastic': dict(strategy='stochastic'),
    'raw': dict(strategy='raw'),
    'chained inputs': dict(sizes=[24, 32], chained=True),
    'running statistics': dict(running_stats=True),
}


def settings_of(comparison, name: str) -> dict:
    """Settings of an arm's config, trained for 20 epochs of 125 iterations."""
    config = Config.fromfile(
        ROOT / comparison.find_config(comparison.arms[name].method)
    )
    config.merge_from_dict(comparison.list_options(name, 20, seed=5))
    assert config.train_cfg.max_epochs == 20
    assert config.randomness.seed == 5
    if 'custom_hooks' not in config:
        return {}
    (hook,) = config.custom_hooks
    head = MODELS.build(config.model.head)
    sampler = read_sampler(config, MODELS.build(config.model.backbone), 125)
    sizes = hook.get('size_range')
    return dict(
        normalize=head.loss_kl.normalize,
        normalize_main=head.normalize_main,
        scale=head.loss_kl.scale,
        weight=head.loss_kl.loss_weight,
        target=head.subnet_target,
        num_subnets=sampler.num_subnets,
        min_depth=min(sampler.space.depths[0]),
        sizes=sizes and list(sizes),
        num_sizes=sampler.num_sizes if sizes else None,
        begin=sampler.begin,
        every=sampler.every,
        strategy=sampler.space.strategy,
        sandwich=sampler.sandwich,
        chained=config.train_cfg.get('chain_inputs', False),
        running_stats=config.train_cfg.get('update_running_stats', False),
    )


@pytest.mark.parametrize('name', ['digits', 'numbers', 'vit', 'family'])
def test_arms_are_what_their_labels_say(arms, name):
    comparison = arms.COMPARISONS[name]
    labels = [arm.label for arm in comparison.arms.values()]
    assert len(set(labels)) == len(labels)
    for arm, label in zip(comparison.arms, labels):
        expected = dict(ST)
        if name == 'numbers' and label.startswith('ST++'):
            expected['min_depth'] = 2
        for part, settings in PARTS.items():
            if re.search(part, label):
                expected.update(settings)
        if name == 'digits' and expected['normalize'] == 'standardize':
            expected['scale'] = 2  # for ten classes
        if arm in comparison.plain:
            expected = {}
        assert settings_of(comparison, arm) == expected, label


def test_names_of_arms(arms):
    for comparison in arms.COMPARISONS.values():
        names = {*comparison.default, *comparison.plain, *comparison.scored}
        assert {*names, *comparison.drawn} <= set(comparison.arms)


def runs_of(report, arm, epochs, scores, cost, seconds=None) -> list:
    return [
        report.Run(arm, epochs, seed, score, 1, seconds, '', cost)
        for seed, score in enumerate(scores)
    ]


def test_table_of_costs(report):
    runs = [
        *runs_of(report, 'ct', 40, [94.0, 96.0, 95.0], 4e12),
        *runs_of(report, 'ct', 10, [90.0, 92.0, 91.0], 1e12, 60.0),
        *runs_of(report, 'st', 10, [93.5], 2e12, 150.4),
        *runs_of(report, 'st', 40, [97.0, 98.0], 8e12),
        *runs_of(report, 'st', 5, [80.0], 0.9e12),
        *runs_of(report, 'st', 30, [96.5], 4.05e12),
    ]
    runs[5] = runs[5]._replace(cpu_seconds=None)
    head, *rows = report.format_costs(
        runs, dict(ct='CT', st='ST'), 'ct'
    ).splitlines()
    half = stats.t.ppf(0.975, 2) * np.std([0, 1, 2], ddof=1) / 3**0.5
    mean = f'+- {half:.2f}'
    assert [' '.join(row.split()) for row in rows] == [
        f'CT 10 3 91.00 {mean} 1.00 60',
        f'CT 40 3 95.00 {mean} 4.00 -',
        'ST 5 1 80.00 0.90 - - - -',  # less than CT's shortest
        # Halfway between 1 and 4 by the ratio; 92 with seed 0.
        f'ST 10 1 93.50 2.00 150 +3.50 93.00 {mean} +1.50',
        # As much as CT's longest, up to an epoch.
        f'ST 30 1 96.50 4.05 - - 95.00 {mean} +2.50',
        # 97 and 98 of 94 and 96; the third seed is CT's alone.
        'ST 40 2 97.50 +- 6.35 8.00 - +2.50 +- 6.35 - -',
    ]
    assert 'CT at that cost' in head


def test_table_of_parts(report):
    runs = [
        run._replace(parts={'probe': run.score, 'tuned': 90.0})
        for run in runs_of(report, 'st', 9, [80.0, 82.0], 1e12)
        + runs_of(report, 'ct', 9, [70.5], 1e12)
        + runs_of(report, 'ct', 5, [60.5], 1e12)
    ]
    del runs[-1].parts['tuned']
    labels = dict(ct='CT', x='not run', st='ST')
    rows = report.format_parts(runs, labels).splitlines()
    half = stats.t.ppf(0.975, 1)  # of two values that are 2 apart
    assert [' '.join(row.split()) for row in rows] == [
        'epochs probe tuned',
        'CT 5 60.50 -',  # not scored
        'CT 9 70.50 90.00',
        f'ST 9 81.00 +- {half:.2f} 90.00 +- 0.00',
    ]
    without = [run._replace(parts=None) for run in runs]
    assert not report.format_parts(without, {})


def points_of(axes) -> dict:
    """Points with error bars: label -> x and y."""
    return {
        bar.get_label(): tuple(map(list, bar[0].get_data()))
        for bar in axes.containers
    }


def test_picture_of_costs(report):
    runs = [
        *runs_of(report, 'ct', 10, [90.0, 92.0], 1e12, 60.0),
        *runs_of(report, 'ct', 20, [94.0], 2e12, 120.0),
        *runs_of(report, 'st', 10, [93.0], 3e12),
    ]
    labels = dict(ct='CT', x='not run', st='ST')
    costs, seconds = report.draw_costs(runs, labels).axes
    expected = {'CT': ([1, 2], [91, 94]), 'ST': ([3], [93])}
    assert points_of(costs) == expected
    assert points_of(seconds)['CT'] == ([60, 120], [91, 94])
    assert np.isnan(points_of(seconds)['ST'][0]).all()
    assert costs.get_ylim()[0] > 80  # in spite of wide intervals
    # Half the error is as far from it as a quarter from the half.
    accuracies = [(1, 90), (1, 95), (1, 97.5)]
    heights = costs.transScale.transform(accuracies)[:, 1]
    assert np.diff(heights) == pytest.approx([np.log(2)] * 2)
    # One panel only where time was not measured.
    assert len(report.draw_costs(runs[-1:], labels).axes) == 1


def test_picture_of_families(report):
    parts = [{'main': 97.0, '1-1': 90.0 + k, '2-2': 96.0} for k in (0, 2)]
    runs = [
        run._replace(parts=scores)
        for run, scores in zip(runs_of(report, 'st', 9, [97, 97], 1), parts)
    ]
    rivals = {
        '9 epochs': {
            '1-1': runs_of(report, '1-1', 9, [93], 1),
            '2-2': runs_of(report, '2-2', 9, [94, 95], 1),
        },
        '1/9 of its FLOPs': {'1-1': [], '2-2': []},
    }
    flops = {'1-1': 2e6, '2-2': 5e6}
    family = report.Family('ST', runs, rivals, flops)
    more = {'1/3 of its FLOPs': rivals['9 epochs'], **rivals}
    both = [family, family._replace(label='ST of another', rivals=more)]
    figure = report.draw_families(both)
    axes, others = figure.axes
    # A panel with fewer lines has the same colours for them.
    label = 'alone, 9 epochs'
    colors = [
        {bars.get_label(): bars.lines[0].get_color() for bars in ax.containers}
        for ax in (axes, others)
    ]
    assert colors[0][label] == colors[1][label]
    assert len({*colors[1].values()}) == 3
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ['family', label, 'alone, 1/3 of its FLOPs']
    points = points_of(axes)
    assert points['family'] == ([2, 5], [91, 96])
    costs, scores = points['alone, 9 epochs']
    assert costs == pytest.approx([2, 5], rel=0.02)
    assert scores == [93, 94.5]


def test_picture_of_gains(tool, report, arms):
    """Cure and gain in the README's picture are those that were measured."""
    runs = tool.read_runs(ROOT / 'resources/demo.json')
    comparison = arms.COMPARISONS['digits']
    labels = {name: comparison.arms[name].label for name in comparison.drawn}
    left, right = report.draw_gains(list(runs.values()), labels).axes
    networks = ['1-1-1', '2-2-2', '3-3-3']
    assert [x.get_text() for x in left.get_xticklabels()] == networks
    same = {arm: [runs[arm, 20, seed] for seed in range(5)] for arm in labels}
    drawn = points_of(left)
    assert list(drawn) == ['CT', 'ST', 'ST++']
    for arm in ('ct', 'st', 'stpp'):
        means = [np.mean([r.parts[n] for r in same[arm]]) for n in networks]
        assert drawn[labels[arm]][1] == pytest.approx(means)
    first, *others = labels
    assert [x.get_text() for x in right.get_yticklabels()] == [
        labels[arm] for arm in others
    ]
    seeds = [line for line in right.lines if len(line.get_xdata()) == 5]
    for arm, bar, points in zip(others, right.containers, seeds):
        gains = [r.score - ct.score for r, ct in zip(same[arm], same[first])]
        assert bar[0].get_xdata() == pytest.approx([np.mean(gains)])
        ((start, _), (end, _)) = bar[2][0].get_segments()[0]
        half = stats.sem(gains) * stats.t.ppf(0.975, 4)
        assert (end - start) / 2 == pytest.approx(half), arm
        np.testing.assert_allclose(points.get_xdata(), gains)


def test_variants_are_in_the_table_only(
    tool, report, tmp_path, monkeypatch, capsys
):
    drawn = []

    def draw(runs, labels):
        drawn.append({run.arm for run in runs})
        return report.draw_costs(runs, labels)

    monkeypatch.setattr(tool, 'draw_costs', draw)
    runs = {
        run[:3]: run
        for arm in ('stpp-scale2', 'ct', 'stpp-shared')
        for run in runs_of(report, arm, 10, [90.0], 1e12, 60.0)
    }
    path = tmp_path / 'frontier.json'
    for some in (runs, {job: runs[job] for job in list(runs)[:1]}):
        tool.write_runs(some, path)
        tool.main(['--of', 'numbers', '--report', '--out', str(tmp_path)])
    assert drawn == [{'ct', 'stpp-shared'}, {'stpp-scale2'}]
    assert capsys.readouterr().out.count('scale 2') == 2
    assert path.with_suffix('.png').exists()
