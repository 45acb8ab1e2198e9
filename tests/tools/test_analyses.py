"""The analysis tools: table, numbers and picture; bad input leaves nothing."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmst.analysis.cost import TrainingCost, format_cost_table
from mmst.analysis.loafing import format_loafing_table, measure_loafing
from mmst.analysis.logit_amplitude import (
    Amplitudes,
    format_amplitude_table,
    measure_amplitudes,
)
from mmst.analysis.receptive_field import (
    Field,
    choose_stage,
    load_input_images,
    measure_receptive_field,
)
from mmst.analysis.score_quality import compute_bound
from mmst.launch.trained_runner import load_trained_runner
from tests.conftest import ROOT, forget_earlier_runs, logged

DEMO = ROOT / 'configs/demo/resnet20_stpp_mnistm5k.py'
VIT = ROOT / 'configs/st/vit-small_st_in1k.py'
ST_HEAD = [
    'model.head._delete_=True',
    'model.head.type=mmst.STClsHead',
    'model.head.loss_kl.type=mmst.KLMinusLoss',
    'model.head.loss_kl.normalize=l2',
    'model.head.normalize_main=True',
    'model.head.head.type=LinearClsHead',
    'model.head.head.num_classes=2',
    'model.head.head.in_channels=64',
    'custom_imports.imports=[mmst]',
]


@pytest.fixture
def files(trained, config):
    return config, str(trained / 'epoch_1.pth')


@pytest.fixture
def runner(files, tmp_path):
    """The network without any tool."""
    forget_earlier_runs()
    return load_trained_runner(*files, tmp_path / 'again')


def test_loafing(analyse, files, runner, tmp_path):
    """Two runs of a name are seeds; one alone is at the subnet of its size."""
    results = analyse(
        'loafing',
        tmp_path / 'deep' / 'out',
        *('--run', 'ST', *files, '--run', 'ST', *files),
        *('--alone', 'alone', *files, '--depths', '1-2-1-2'),
    )
    _, scores = measure_loafing(runner, subnets=[(1, 2, 1, 2), (2, 2, 2, 2)])
    alone = {'2-2-2-2': scores['main']}
    expected = dict(ST=[scores, scores], alone=[alone])
    assert results == dict(
        metric='accuracy/top1', rule='greater', results=expected
    )
    table = format_loafing_table(expected)
    assert analyse.table == f'accuracy/top1 (%)\n{table}\n'


def test_logit_amplitude(analyse, files, runner, tmp_path):
    results = analyse(
        'logit_amplitude',
        tmp_path / 'out',
        *('--run', 'ST', *files, '--depths', '1-1-1-1'),
    )
    runs = {name: Amplitudes(**result) for name, result in results.items()}
    expected = measure_amplitudes(runner, subnets=[(1, 1, 1, 1)])
    assert runs == dict(ST=expected)
    assert analyse.table == format_amplitude_table(runs) + '\n'


def test_receptive_field(analyse, files, runner, tmp_path):
    results = analyse(
        'receptive_field',
        tmp_path / 'out',
        *('--run', 'CT', *files, '--stage', 'layer2'),
        *('--sizes', '32', '24', '--depths', '1-1-1-1'),
    )
    assert [(r['run'], r['network'], r['size']) for r in results] == [
        ('CT', network, size)
        for network in ('main', '1-1-1-1')
        for size in (32, 24)
    ]
    stage = choose_stage(runner.model, 'layer2')
    images = load_input_images(runner, 32, 4)
    field = measure_receptive_field(runner.model, images, stage)
    sides = Field('CT', 'main', 32, field).sides
    assert results[0]['sides'] == {f'{x:.0%}': n for x, n in sides.items()}
    title, head, first, *_ = analyse.table.splitlines()
    assert title.startswith('Sides of the squares that hold a share of ')
    assert first.split()[:4] == ['CT', 'main', '32', 'px']
    assert first.split()[4::2] == list(map(str, sides.values()))


def test_noise_needs_no_images(analyse, files, tmp_path):
    (result,) = analyse(
        'receptive_field',
        tmp_path / 'out',
        *('--run', 'CT', *files, '--noise', '--depths', '--sizes', '32'),
        *('--num-images', '2', '--cfg-options'),
        'val_dataloader.dataset.data_root=nowhere',
    )
    assert result['network'] == 'main'


def test_score_quality(analyse, files, runner, tmp_path):
    """Three forms of scores of the four images through the bare model."""
    run = ('--run', 'net', *files, '--depths', '1-1-1-1')
    model, logits, labels = runner.model, [], []
    model.eval()
    with torch.no_grad():
        for data in runner.val_dataloader:
            labels += [int(s.gt_label) for s in data['data_samples']]
            data = model.data_preprocessor(data, False)
            logits.append(model(data['inputs']))
    logits, labels = torch.cat(logits), torch.tensor(labels)

    def check(network, predicted):
        calibrated = logits / network['temperature']
        assert network['cross_entropy'] == pytest.approx(
            dict(
                raw=F.cross_entropy(logits, labels).item(),
                predicted=F.cross_entropy(predicted, labels).item(),
                calibrated=F.cross_entropy(calibrated, labels).item(),
            ),
            rel=1e-5,
        )

    options = ('--cfg-options', *ST_HEAD)
    st = analyse('score_quality', tmp_path / 'st', *run, *options)['net']
    unit = logits / logits.norm(dim=1, keepdim=True)
    check(st['networks']['main'], unit)
    plain = analyse('score_quality', tmp_path / 'out', *run)['net']
    main, subnet = plain['networks'].values()
    check(main, logits)
    one, other = (n['cross_entropy']['predicted'] for n in (main, subnet))
    gap = abs(one - other)
    assert plain['bound']['gap'] == pytest.approx(gap)
    assert list(plain['networks']) == ['main', '1-1-1-1']
    assert 'ECE calibrated (%)' in analyse.table
    assert f'{gap:.3f}' in analyse.table.splitlines()[-1]


def test_bound_against_the_equation():
    main, *subnets = torch.randn(3, 20, 7).double()
    labels = torch.randint(7, (20,))
    found = compute_bound(main, subnets, labels)
    p = main.softmax(1)

    def loss(logits):
        return -logits.softmax(1)[range(20), labels].log().mean()

    divergence = sum(
        (p * (p / s.softmax(1)).log()).sum(1).mean() for s in subnets
    ) / len(subnets)
    first = loss(main)
    bound = (divergence + math.log(7)) / torch.exp(-first) + first
    assert found.divergence == pytest.approx(divergence.item())
    assert found.bound == pytest.approx(bound.item())
    assert found.gap == pytest.approx(
        abs(first - sum(map(loss, subnets)) / len(subnets)).item()
    )
    assert found.bound > found.chance == pytest.approx(math.log(7))


def test_cost(analyse, trained, tmp_path):
    results = analyse(
        'cost',
        tmp_path / 'out',
        *('--run', 'a', trained, '--run', 'b', trained, '--size', '32', '32'),
    )
    costs = {name: TrainingCost(**cost) for name, cost in results.items()}
    assert costs['a'] == costs['b']
    assert costs['a'].scores == [logged(trained)[-1]['accuracy/top1']]
    assert (costs['a'].epochs, costs['a'].iterations) == ([1], 2)
    assert analyse.table == format_cost_table(costs) + '\n'


def test_stage_layout(analyse, tmp_path):
    results = analyse(
        'stage_layout',
        tmp_path / 'out',
        *(DEMO, VIT, '--size', '32', '48', '--min-depths', '1', '2'),
    )
    assert list(results) == ['resnet20_stpp_mnistm5k', 'vit-small_st_in1k']
    demo, vit = results.values()
    assert demo['blocks'] == dict(layer1=3, layer2=3, layer3=3)
    assert vit['blocks'] == dict(layers=12)
    assert demo['size'] == vit['size'] == [32, 48]
    assert demo['num_subnets'] == 3  # as in its hook
    assert [p['space'] for p in demo['proposals']] == [[3, 3, 3], [2, 2, 2]]
    assert [p['num_subnets'] for p in vit['proposals']] == [12, 11]
    assert 'vit-small_st_in1k: layers 12; 32 x 48 px' in analyse.table


def test_layouts_of_one_name_are_told_apart(analyse, tmp_path):
    """The size comes from each config, and options reach it."""
    other = tmp_path / DEMO.name
    deeper = 'model = dict(backbone=dict(depth=32))'
    other.write_text(f"_base_ = '{DEMO}'\n{deeper}\n")
    results = analyse(
        'stage_layout',
        tmp_path / 'out',
        *(DEMO, other, '--min-depths', '1', '--cfg-options'),
        'custom_hooks.0.num_subnets=2',
    )
    assert [
        (name, r['blocks']['layer1'], r['size'], r['num_subnets'])
        for name, r in results.items()
    ] == [(str(DEMO), 3, [32, 32], 2), (str(other), 5, [32, 32], 2)]


@pytest.mark.parametrize(
    'tool, args, message',
    [
        ('loafing', 'RUN --depths 1-1-1', 'has 3 entries, but the ne'),
        ('loafing', 'RUN --depths 1,1,1', None),  # in another form
        (
            'loafing',
            'RUN --metric m --cfg-options val_evaluator.topk=(2,)',
            r"metric 'm' is not .*: \['accuracy/top2'\]",
        ),
        ('logit_amplitude', 'RUN --depths 9-1-1-1', 'depth 9 of stage 1'),
        ('receptive_field', 'RUN --stage layer9', "'layer9' is not .*layer4"),
        ('receptive_field', 'RUN --num-images 0', 'must be at least 1'),
        ('receptive_field', 'RUN --sizes 0', 'must be at least 1'),
        # Its log lacks the size here: images are taken as they are.
        ('cost', 'TRAINING', "run 'a': .*--size HEIGHT WIDTH"),
        (
            *('cost', 'TRAINING --size 8 8 --cfg-options optim_wraper.x=1'),
            "run 'a': --cfg-options optim_wraper.x: .*Did you mean",
        ),
        ('stage_layout', 'DEMO --size 0 32', 'leaves no feature map'),
        (
            *('stage_layout', 'DEMO --min-depths 0'),
            '0 is not a whole number of at least 1',
        ),
    ],
)
def test_bad_input_leaves_nothing(
    refuse, files, trained, tmp_path, tool, args, message
):
    stand_for = dict(RUN=['--run', 'a', *files], DEMO=[DEMO])
    stand_for['TRAINING'] = ['--run', 'a', trained]
    flags = sum((stand_for.get(arg, [arg]) for arg in args.split()), [])
    error = ValueError if message else SystemExit
    refuse(tool, tmp_path / 'out', error, message or '2', *flags)


@pytest.mark.parametrize(
    'tool',
    ['cost', 'loafing', 'logit_amplitude', 'receptive_field', 'score_quality'],
)
def test_runs_are_checked_before_anything_is_measured(refuse, tmp_path, tool):
    """Files are there here, but empty, or do not exist."""
    there, missing = tmp_path / 'there', tmp_path / 'missing'
    there.touch()
    paths = [there] if tool == 'cost' else [there, there]

    def check(error, message, *args):
        args = ('--run', 'a', *paths, *args)
        refuse(tool, tmp_path / 'out', error, message, *args)

    if tool != 'loafing':  # where they are seeds
        message = "two runs are named 'a': choose different names"
        check(ValueError, message, '--run', 'a', *paths)
    message = "a run is named '_b': legends leave out"
    check(ValueError, message, '--run', '_b', *paths)
    for flag in ['--run'] + ['--alone'] * (tool == 'loafing'):
        for k in range(len(paths)):
            given = [*paths[:k], missing, *paths[k + 1 :]]
            message = "missing of run 'b' does not exist"
            check(FileNotFoundError, message, flag, 'b', *given)
