"""Ways of training compared: runs, what is kept, tables and pictures."""

import json
import shutil
from functools import lru_cache

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode

from mmst.launch.configured_training import read_sampler
from tests.analysis.evaluation_by_hand import logits_by_hand
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
    """Of one image of 32 px, forward and backward, by PyTorch's counter."""
    config = Config.fromfile(ROOT / 'configs/demo/resnet20_ct_numbers10k.py')
    backbone = MODELS.build(dict(config.model.backbone, depth=depth))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.zeros(1, 3, 32, 32))
    return 3 * counter.get_total_flops() / 2


def images_of(folder):
    """All images of a folder of classes, normalised, and their labels."""
    files = sorted(folder.glob('*/*.png'))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    images = (torch.tensor(pixels).permute(0, 3, 1, 2) - 127.5) / 63.75
    return images, torch.tensor([int(file.parent.name) for file in files])


def top1_by_hand(method: str, checkpoint, network: str, data) -> float:
    """Top-1 in percent, in plain PyTorch."""
    cfg = Config.fromfile(f'configs/demo/resnet20_{method}_mnistm5k.py')
    model = MODELS.build(dict(cfg.model, data_preprocessor=None))
    model.load_state_dict(load_run(checkpoint)['state_dict'])
    fit, _ = images_of(data / 'train')
    images, labels = images_of(data / 'val')
    depths = None if network == 'main' else tuple(map(int, network.split('-')))
    logits = logits_by_hand(model.backbone, model.head.fc, depths, fit, images)
    return 100 * (logits.argmax(1) == labels).float().mean().item()


def test_digits(compare, commands, few_digits, tmp_path):
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
        for name, score in run['parts'].items():
            checkpoint = folder / f'epoch_{epochs}.pth'
            by_hand = top1_by_hand(arm, checkpoint, name, few_digits)
            assert score == pytest.approx(by_hand), (arm, name)
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
    monkeypatch.setattr(
        tool,
        'TUNING_SPLIT',
        {'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 3},
    )
    runs, printed = compare(
        '--of mae --tune --arms st --epochs 3', 'frontier_mae_tune'
    )
    (run,) = runs.values()
    folder = tmp_path / 'st/3epochs/seed0'
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
    lengths = {}
    for network, depth in (('1-1-1', 8), ('4-4-4', 26)):
        flops = 2 * 16 * plain_flops(depth)
        alone = runs[network, 2, 0]
        assert alone['multiply_adds'] == pytest.approx(flops)
        # Half of the family's FLOPs; of 125 subnets each has next to none.
        lengths[network] = round(family['multiply_adds'] / flops)
        assert lengths[network] > 1
    assert {*runs} == {
        ('stpp', 2, 0),
        *((network, 2, 0) for network in lengths),
        *((network, epochs, 0) for network, epochs in lengths.items()),
    }
    cells = [line.split() for line in printed.splitlines()]
    for network, epochs in lengths.items():
        ours = family['parts'][network]
        alone = runs[network, epochs, 0]['score']
        depth = {'1-1-1': 8, '4-4-4': 26}[network]
        assert [
            *(network, f'{plain_flops(depth) / 3e6:.1f}', f'{ours:.2f}'),
            *f'1/2 of its FLOPs {epochs} 1 {alone:.2f}'.split(),
            f'{ours - alone:+.2f}',
        ] in cells
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


@lru_cache(maxsize=None)
def build(backbone: str):
    """A backbone, each once."""
    return MODELS.build(json.loads(backbone))


def describe(comparison, name: str, epochs: int) -> tuple:
    """What a training does with subnets, from its config."""
    arm = comparison.arms[name]
    config = Config.fromfile(ROOT / comparison.find_config(arm.method))
    config.merge_from_dict(comparison.list_options(name, epochs, 5))
    assert config.train_cfg.max_epochs == epochs
    assert config.randomness.seed == 5
    if arm.method == 'ct':
        assert 'custom_hooks' not in config
        return ()
    (hook,) = config.custom_hooks
    head = MODELS.build(config.model.head)
    sampler = read_sampler(
        config, build(json.dumps(config.model.backbone)), 125
    )
    return (
        *(head.loss_kl.normalize, head.normalize_main),
        *(sampler.num_subnets, min(sampler.space.depths[0])),
        hook.get('size_range') and list(hook.size_range),
        *(sampler.num_sizes, sampler.begin, sampler.every),
        *(head.subnet_target, head.loss_kl.loss_weight),
        *([] if head.loss_kl.scale == 1 else [head.loss_kl.scale]),
        *({sampler.space.strategy} - {'ordered'}),
        *(['sandwich'] if sampler.sandwich else []),
    )


RELEASED, PLAIN_KL = ('standardize', True), (None, False)
FULL = (1, None, None, 0, 1, 'main', 1)
SHARED = (3, 2, [0.75, 1.0], 1, 0, 1, 'main', 1)
FULL_SIZE = (3, 2, None, *SHARED[3:])
#: One block a stage at least, and of digits scaled logits.
DIGITS = (3, 1, [0.75, 1.0], None, 0, 1, 'main', 1)
REST = (None, None, 0, 1, 'main', 1)
ARMS = {
    'digits': {
        'ct': (),
        'st': (*PLAIN_KL, 1, *FULL),
        'st-sit': (*PLAIN_KL, 1, *DIGITS[1:]),
        'st-l2': ('l2', False, 1, *FULL),
        'st-standardize': (*RELEASED, 1, *FULL, 2),
        'st-standardize-k3': (*RELEASED, 3, *FULL, 2),
        'stpp': (*RELEASED, *DIGITS, 2),
        'stpp-min2': (*RELEASED, 3, 2, *DIGITS[2:], 2),
        'stpp-kl': (*PLAIN_KL, *DIGITS),
        'stpp-stochastic': (*RELEASED, *DIGITS, 2, 'stochastic'),
        'stpp-raw': (*RELEASED, *DIGITS, 2, 'raw'),
        'stpp-running-stats': (*RELEASED, *DIGITS, 2),
        'stpp-chained': (*RELEASED, 3, 1, [24, 32], *DIGITS[3:], 2),
        'stpp-label': (*RELEASED, *DIGITS[:-2], 'label', 1, 2),
        'stpp-both': (*RELEASED, *DIGITS[:-2], 'both', 1, 2),
    },
    'numbers': {
        'ct': (),
        'st': (*PLAIN_KL, 1, *FULL),
        'stpp': (*RELEASED, 3, 2, [0.75, 1.0], None, 0, 1, 'main', 1),
        'stpp-shared': (*RELEASED, *SHARED),
        'stpp-all': (*RELEASED, 3, 1, *SHARED[2:]),
        'stpp-every2': (*RELEASED, *SHARED[:5], 2, 'main', 1),
        'stpp-late': (*RELEASED, *SHARED[:4], 1250, 1, 'main', 1),
        'stpp-fifth': (*RELEASED, *SHARED[:4], 500, 1, 'main', 1),
        'stpp-full': (*RELEASED, *FULL_SIZE),
        'stpp-kl': (*PLAIN_KL, *SHARED),
        'stpp-kl-full': (*PLAIN_KL, *FULL_SIZE),
        'stpp-kl-half': (*PLAIN_KL, 3, 2, [0.5, 1.0], *SHARED[3:]),
        'stpp-kl-k1': (*PLAIN_KL, 1, *SHARED[1:]),
        'stpp-k1': (*RELEASED, 1, *SHARED[1:]),
        'stpp-scale2': (*RELEASED, *SHARED, 2),
        'stpp-label': (*RELEASED, 3, 2, [0.75, 1.0], *REST[1:4], 'label', 1),
        **{f'kl-k{k}': (*PLAIN_KL, k, *FULL) for k in (2, 4)},
        **{f'l2-k{k}': ('l2', False, k, *FULL) for k in (1, 2, 4)},
        **{f'standardize-k{k}': (*RELEASED, k, *FULL) for k in (1, 2, 3, 4)},
        'standardize-k3-sit': (*RELEASED, *DIGITS),
        'standardize-k3-min2': (*RELEASED, 3, 2, *FULL[1:]),
    },
    'vit': {
        'ct': (),
        'st': (*PLAIN_KL, 1, 1, *REST),
        'st-k3': (*PLAIN_KL, 3, 1, *REST),
        'st-standardize': (*RELEASED, 1, 1, *REST),
        'stpp': (*RELEASED, 3, 1, *REST),
        'st-min4': (*PLAIN_KL, 1, 4, *REST),
        'st-weak': (*PLAIN_KL, 1, 1, *REST[:-1], 0.1),
        'st-label': (*PLAIN_KL, 1, 1, *REST[:-2], 'label', 1),
        'st-late': (*PLAIN_KL, 1, 1, None, None, 1250, *REST[3:]),
        'st-weak-late': (*PLAIN_KL, 1, 1, None, None, 1250, 1, 'main', 0.1),
    },
    'family': {
        'stpp': (*RELEASED, 3, 1, *SHARED[2:]),
        'stpp-sandwich': (*RELEASED, 3, 1, *SHARED[2:], 'sandwich'),
        'stpp-fifth': (*RELEASED, 3, 1, *SHARED[2:4], 500, *SHARED[5:]),
        'stpp-kl': (*PLAIN_KL, 3, 1, *SHARED[2:]),
        'stpp-label': (*RELEASED, 3, 1, *SHARED[2:-2], 'label', 1),
        'stpp-both': (*RELEASED, 3, 1, *SHARED[2:-2], 'both', 1),
        'stpp-k2': (*RELEASED, 2, 1, *SHARED[2:]),
        **{f'{n}-{n}-{n}': () for n in (1, 2, 3, 4, 5)},
    },
}


@pytest.mark.parametrize('name', ARMS)
def test_arms_are_what_their_names_say(arms, name):
    comparison = arms.COMPARISONS[name]
    found = {arm: describe(comparison, arm, 20) for arm in comparison.arms}
    assert found == ARMS[name]


def test_names_of_arms(arms):
    for comparison in arms.COMPARISONS.values():
        names = {*comparison.default, *comparison.plain, *comparison.scored}
        assert {*names, *comparison.drawn} <= set(comparison.arms)
        labels = [arm.label for arm in comparison.arms.values()]
        assert len(set(labels)) == len(labels)
    for options in (
        arms.DIGITS_ARMS['stpp-running-stats'].options,
        arms.DIGITS_ARMS['stpp-chained'].options,
    ):
        config = Config.fromfile('configs/demo/resnet20_stpp_mnistm5k.py')
        before = dict(config.train_cfg)
        config.merge_from_dict(options)
        assert config.train_cfg != before


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
    ]
    runs[5] = runs[5]._replace(cpu_seconds=None)
    lines = report.format_costs(runs, dict(ct='CT', st='ST'), 'ct')
    head, *rows = (line.split() for line in lines.splitlines())
    half = stats.t.ppf(0.975, 2) * np.std([0, 1, 2], ddof=1) / 3**0.5
    mean = ['91.00', '+-', f'{half:.2f}']
    assert rows == [
        ['CT', '10', '3', *mean, '1.00', '60'],
        ['CT', '40', '3', '95.00', *mean[1:], '4.00', '-'],
        # Halfway between 1 and 4 by the ratio; 92 with seed 0.
        [*'ST 10 1 93.50 2.00 150 +3.50 93.00'.split(), *mean[1:], '+1.50'],
        # 97 and 98 of 94 and 96; the third seed is CT's alone.
        'ST 40 2 97.50 +- 6.35 8.00 - +2.50 +- 6.35 - -'.split(),
    ]
    assert 'CT at that cost' in lines.splitlines()[0]


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
        (1, {0: 90, 1: 80}),
        (10, {0: 95, 1: 86}),
        (100, {0: 96}),
        (31.6, {0: 95.5}),
        (0.9, {}),
        (110, {}),
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
    assert report.interpolate_scores([], cost) == {}


def points_of(axes) -> dict:
    """What is drawn with error bars: label -> x and y."""
    return {
        bar.get_label(): (
            bar[0].get_xdata().tolist(),
            bar[0].get_ydata().tolist(),
        )
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
    (axes,) = report.draw_families([family]).axes
    points = points_of(axes)
    assert points['family'] == ([2, 5], [91, 96])
    costs, scores = points['alone, 9 epochs']
    assert costs == pytest.approx([2, 5], rel=0.02)
    assert scores == [93, 94.5]
    rows = [r.split() for r in report.format_family(family).splitlines()[1:]]
    half = stats.t.ppf(0.975, 1)  # of two values that are 2 apart
    mean = ['91.00', '+-', f'{half:.2f}']
    assert rows == [
        ['1-1', '2.0', *mean, *'9 epochs 9 1 93.00 -3.00'.split()],
        ['1-1', '2.0', *mean, *'1/9 of its FLOPs - 0 - -'.split()],
        *(
            f'2-2 5.0 96.00 +- 0.00 {rest}'.split()
            for rest in (
                '9 epochs 9 2 94.50 +- 6.35 +1.50 +- 6.35',
                '1/9 of its FLOPs - 0 - -',
            )
        ),
    ]


def test_picture_of_gains(tool, report, arms):
    """That of the README shows what was measured."""
    runs = tool.read_runs(ROOT / 'resources/demo.json')
    comparison = arms.COMPARISONS['digits']
    labels = {name: comparison.arms[name].label for name in comparison.drawn}
    left, right = report.draw_gains(list(runs.values()), labels).axes
    networks = ['1-1-1', '2-2-2', '3-3-3']
    assert [x.get_text() for x in left.get_xticklabels()] == networks
    assert list(points_of(left)) == ['CT', 'ST', 'ST++']
    for label, (_, means) in points_of(left).items():
        (arm,) = (name for name in labels if labels[name] == label)
        parts = [run.parts for run in runs.values() if run.arm == arm]
        assert len(parts) == 5
        assert means == pytest.approx(
            [np.mean([one[network] for one in parts]) for network in networks]
        )
    assert [x.get_text() for x in right.get_yticklabels()] == [
        label for label in labels.values() if label != 'CT'
    ]
    for y, arm in enumerate(name for name in labels if name != 'ct'):
        gains = np.array(
            [
                runs[arm, 20, seed].score - runs['ct', 20, seed].score
                for seed in range(5)
            ]
        )
        (bar,) = (b for b in right.containers if b[0].get_ydata()[0] == y)
        assert bar[0].get_xdata() == pytest.approx([gains.mean()])
        ((start, _), (end, _)) = bar[2][0].get_segments()[0]
        interval = stats.t.interval(0.95, 4, gains.mean(), stats.sem(gains))
        assert (start, end) == pytest.approx(interval), arm
        (seeds,) = (
            line.get_xdata()
            for line in right.lines
            if list(line.get_ydata()) == [y + 0.25] * 5
        )
        np.testing.assert_allclose(seeds, gains)


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
