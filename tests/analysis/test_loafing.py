"""Scores of subnets against an evaluation written out in plain PyTorch."""
import math
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from PIL import Image
from scipy import stats

from mmst.analysis import evaluate_subnet, trained_runner
from mmst.analysis.loafing import (loafing_table, mean_and_interval,
                                   measure_loafing, plot_loafing,
                                   uniform_depths)
from mmst.analysis.metric_names import choose_metric, metric_label
from mmst.engine.safe_load import UnsafeCheckpointError
from tests.conftest import TinyImages, classifier, forget_earlier_runs

# The validation set's first 12 images are the training set's.
NUM_TRAIN, NUM_VAL = 12, 40
UNIFORM = {'1-1-1': (1, 1, 1), '2-2-2': (2, 2, 2), '3-3-3': (3, 3, 3)}


@METRICS.register_module()
class MeanScore(BaseMetric):
    """Mean probability of the right class: finer than the accuracy."""

    def process(self, data_batch, data_samples):
        self.results += [
            sample['pred_score'][sample['gt_label']].item()
            for sample in data_samples
        ]

    def compute_metrics(self, results):
        return dict(mean_score=100 * sum(results) / len(results))


def loader(batch_size, length):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        dataset=dict(type='TinyImages', length=length, flip=False),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'))


@pytest.fixture
def trained(tiny_runner, tmp_path):
    """Train, and give the runner, its config file and its checkpoint."""

    def train(batch_size=NUM_TRAIN, name='run', seed=0, **options):
        runner = tiny_runner(
            name,
            sampler=dict(num_subnets=1),
            train_dataloader=loader(batch_size, NUM_TRAIN),
            randomness=dict(seed=seed),
            **{
                **dict(
                    val_dataloader=loader(16, NUM_VAL),
                    val_evaluator=[
                        dict(type='Accuracy', topk=(1, )),
                        dict(type='MeanScore')
                    ],
                    val_cfg=dict()),
                **options
            })
        runner.train()
        config = tmp_path / f'{name}_config.py'
        runner.cfg.dump(config)
        return runner, str(config), str(tmp_path / name / 'epoch_2.pth')

    return train


def by_hand(model, depths, num_samples):
    """Top-1 and mean score, in percent, of the first ``depths`` blocks.

    The validation images are normalised with the mean and the unbiased
    variance of the training images' features, which these are normalised
    without bias, as in training.
    """
    data = TinyImages(NUM_VAL, flip=False)
    labels = torch.tensor(data.labels)
    images = (data.images.float() - 127.5) / 64
    fit = (TinyImages(NUM_TRAIN, flip=False).images[:num_samples].float() -
           127.5) / 64
    net = model.backbone

    def norm(bn, pair):
        out = []
        for x, correction in zip(pair, (0, 1)):
            mean, var = pair[0].mean((0, 2, 3)), pair[0].var(
                (0, 2, 3), correction=correction)
            if depths is None:
                mean, var = bn.running_mean, bn.running_var
            x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
            out.append(x * bn.weight[:, None, None] + bn.bias[:, None, None])
        return out

    def conv_norm(conv, bn, pair):
        return norm(bn, [conv(x) for x in pair])

    with torch.no_grad():
        pair = conv_norm(net.conv1, net.norm1, (fit, images))
        pair = [x.relu() for x in pair]
        for i, depth in enumerate(depths or (3, 3, 3), 1):
            for block in list(getattr(net, f'layer{i}'))[:depth]:
                out = conv_norm(block.conv1, block.norm1, pair)
                out = conv_norm(block.conv2, block.norm2,
                                [x.relu() for x in out])
                if block.downsample is not None:
                    pair = conv_norm(*block.downsample, pair)
                pair = [(a + b).relu() for a, b in zip(out, pair)]
        p = model.head.head.fc(pair[1].mean((2, 3))).softmax(1)
    return (100 * (p.argmax(1) == labels).float().mean().item(),
            100 * p[range(NUM_VAL), labels].mean().item())


@pytest.mark.parametrize('batch_size, num_samples', [(NUM_TRAIN, 2000),
                                                     (4, 3)])
def test_scores_are_those_of_an_evaluation_by_hand(trained, tmp_path,
                                                   batch_size, num_samples):
    """Statistics from one batch: of all training images, or of the first."""
    runner, config, checkpoint = trained(batch_size)
    loaded = trained_runner(config, checkpoint, tmp_path / 'out')
    assert loaded.work_dir == str(tmp_path / 'out')
    top1 = measure_loafing(loaded, 'accuracy/top1', num_samples).scores
    mean = measure_loafing(loaded, 'mean_score', num_samples).scores
    networks = dict(main=None, **UNIFORM)
    assert list(top1) == list(mean) == list(networks)
    for name, depths in networks.items():
        expected = by_hand(runner.model, depths, batch_size)
        assert (top1[name], mean[name]) == pytest.approx(expected, rel=1e-4)
    # The scores tell the networks apart, so that a mix-up would show.
    assert len({round(score, 3) for score in mean.values()}) == len(networks)
    # A runner that has not evaluated anything yet is in training mode.
    loaded = trained_runner(config, checkpoint, tmp_path / 'fresh')
    assert evaluate_subnet(loaded, (1, 1, 1), num_samples) == pytest.approx({
        'accuracy/top1': top1['1-1-1'], 'mean_score': mean['1-1-1']})
    for key, value in runner.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key


def test_uniform_depths_end_with_the_deepest_stage():
    assert uniform_depths((3, 4, 6, 3)) == [
        (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3), (3, 4, 4, 3), (3, 4, 5, 3),
        (3, 4, 6, 3)
    ]


def test_interval_of_the_mean():
    """t quantiles of 1 and 2 degrees of freedom are known in closed form."""
    cauchy = math.tan(math.pi * (0.975 - 0.5))
    two = 0.95 * math.sqrt(2 / (4 * 0.975 * 0.025))
    for values, quantile in (([1., 4.], cauchy), ([2., 3., 7.], two)):
        mean = sum(values) / len(values)
        variance = sum((v - mean)**2 for v in values) / (len(values) - 1)
        assert mean_and_interval(values) == pytest.approx(
            (mean, quantile * math.sqrt(variance / len(values))))
    values = [3., 1., 4., 1., 5.]
    low, high = stats.t.interval(
        0.95, 4, np.mean(values), np.std(values, ddof=1) / math.sqrt(5))
    mean, half = mean_and_interval(values)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    mean, half = mean_and_interval([80.5])
    assert mean == 80.5 and math.isnan(half)


RESULTS = {
    'CT': [{'main': 90., '1-1': 20.}],
    'a method of long name': [{'main': 92., '1-1': 81.},
                              {'main': 94., '1-1': 85.}]
}


def test_table_of_networks_and_methods():
    head, main, subnet = loafing_table(RESULTS).splitlines()
    assert head.split('  ')[-1].strip() == 'a method of long name'
    assert len(head) == len(main) == len(subnet)
    for line, name, one, two in ((main, 'main', '90.00', (92., 94.)),
                                 (subnet, '1-1', '20.00', (81., 85.))):
        mean, half = mean_and_interval(two)
        assert re.split(' {2,}', line) == [
            name, one, f'{mean:.2f} +- {half:.2f}']


def test_table_with_more_methods_than_networks_has_these_as_columns():
    results = dict(RESULTS, third=[{'main': 7., '1-1': 5.}])
    head, *lines = loafing_table(results).splitlines()
    assert re.split(' {2,}', head.strip()) == ['main', '1-1']
    assert [re.split(' {2,}', line)[0] for line in lines] == list(results)
    assert re.split(' {2,}', lines[2])[1:] == ['7.00', '5.00']
    assert {len(head)} == {len(line) for line in lines}


def test_table_of_fractions_and_of_networks_that_only_some_runs_have():
    results = {'CT': [{'main': 0.3721, '1-1': 0.1}, {'main': 0.3, '1-1': 0.1}],
               'alone': [{'1-1': 0.25}, {'2-2': 0.3}]}
    lines = [re.split(' {2,}', line)
             for line in loafing_table(results).splitlines()]
    mean, half = mean_and_interval([0.3721, 0.3])
    assert lines[1:] == [['main', f'{mean:.4f} +- {half:.4f}', '-'],
                         ['1-1', '0.1000 +- 0.0000', '0.2500'],
                         ['2-2', '-', '0.3000']]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures, save = [], Figure.savefig

    def watch(figure, *args, **options):
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, 'savefig', watch)
    return figures


def test_picture_shows_every_method(tmp_path, drawn):
    path = tmp_path / 'loafing.png'
    results = dict(RESULTS, **{f'method {i}': RESULTS['CT'] for i in range(8)})
    plot_loafing(results, 'accuracy/top1', str(path))
    figure, = drawn
    axes, = figure.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ['1-1', 'main']
    assert axes.get_ylabel() == 'accuracy/top1'
    legend, = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == list(results)
    looks, markers = set(), set()
    for bars, runs in zip(axes.containers, results.values()):
        points, _, (intervals, ) = bars
        looks.add((points.get_color(), points.get_linestyle()))
        markers.add(points.get_marker())
        for x, network in enumerate(('1-1', 'main')):
            mean, half = mean_and_interval([s[network] for s in runs])
            half = 0 if math.isnan(half) else half
            assert points.get_ydata()[x] == mean
            assert intervals.get_segments()[x][:, 1] == pytest.approx(
                [mean - half, mean + half])
    assert len(axes.containers) == len(looks) == len(markers) == 10
    figure.draw_without_rendering()
    assert legend.get_window_extent().y1 < axes.get_tightbbox().y0
    with Image.open(path) as image:
        assert image.format == 'PNG' and len(image.getcolors(2**24)) > 10


def test_picture_of_a_network_alone_is_at_the_subnet_of_its_depths(
        tmp_path, drawn):
    results = {'CT': [{'main': 9., '1-1': 2., '2-2': 8.}],
               'alone': [{'2-2': 8.5}]}
    plot_loafing(results, 'accuracy/top1', str(tmp_path / 'a.png'))
    axes, = drawn[0].axes
    assert [t.get_text() for t in axes.get_xticklabels()
            ] == ['1-1', '2-2', 'main']
    points = axes.containers[1][0]
    assert points.get_ydata() == [8.5]
    assert points.get_xdata() == pytest.approx([1], abs=0.1)


@pytest.mark.parametrize('hooks', [
    dict(hooks=[dict(type='EMAHook')]),
    dict(default_hooks=dict(
        checkpoint=dict(type='CheckpointHook', save_best='accuracy/top1')))])
def test_hooks_of_the_training_take_no_part(trained, tmp_path, hooks):
    _, config, checkpoint = trained(**hooks)
    forget_earlier_runs()  # as in a process of its own
    loaded = trained_runner(config, checkpoint, tmp_path / 'out')
    weights = torch.load(checkpoint)['state_dict']
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, weights[key]), key
    scores = measure_loafing(loaded, 'mean_score').scores
    assert list(scores) == ['main', *UNIFORM]
    assert scores['main'] == pytest.approx(
        by_hand(loaded.model, None, NUM_TRAIN)[1], rel=1e-4)
    assert not list((tmp_path / 'out').rglob('*.pth'))


def test_unknown_metric(trained, tmp_path):
    _, config, checkpoint = trained()
    loaded = trained_runner(config, checkpoint, tmp_path / 'out')
    with pytest.raises(ValueError, match=r"metric 'top1' is not one of .*"
                       r"\['accuracy/top1', 'mean_score'\]"):
        measure_loafing(loaded, 'top1')


def test_training_data_without_an_end(trained, tmp_path):
    """Each subnet gets images from an infinite sampler."""
    _, config, checkpoint = trained(batch_size=4)
    loaded = trained_runner(config, checkpoint, tmp_path / 'out', {
        'train_dataloader.sampler.type': 'InfiniteSampler'})
    scores = measure_loafing(loaded, 'mean_score', 8).scores
    assert list(scores) == ['main', *UNIFORM]
    # The same images again: what was drawn before has no part in it.
    assert scores == measure_loafing(loaded, 'mean_score', 8).scores


def test_usual_metric_is_chosen_and_others_are_named(trained, tmp_path):
    _, config, checkpoint = trained()
    loaded = trained_runner(config, checkpoint, tmp_path / 'out')
    found = measure_loafing(loaded, subnets=[(1, 2, 1)])
    assert found.metric == 'accuracy/top1'
    assert list(found.scores) == ['main', '1-2-1']
    with pytest.raises(ValueError, match=r'depth 4 of stage 2 in .*\[1, 4, 1'):
        measure_loafing(loaded, subnets=[(1, 1, 1), (1, 4, 1)])


@pytest.mark.parametrize('metrics, expected', [
    (['coco/segm_mAP', 'coco/bbox_mAP', 'coco/bbox_mAP_50'], 'coco/bbox_mAP'),
    (['aAcc', 'mIoU', 'mAcc'], 'mIoU'),
    (['coco/AP .5', 'coco/AP'], 'coco/AP'),
    (['accuracy/top5', 'accuracy/top1'], 'accuracy/top1'),
    (['coco_panoptic/PQ'], 'coco_panoptic/PQ'),
    (['mine'], 'mine'),
])
def test_usual_metric(metrics, expected):
    assert choose_metric(dict.fromkeys(metrics, 0.)) == expected


def test_no_usual_metric():
    with pytest.raises(ValueError, match=r"--metric: \['a', 'b'\]"):
        choose_metric(dict(b=0., a=1.))


def test_units():
    assert metric_label('accuracy/top1') == 'accuracy/top1 (%)'
    assert metric_label('coco/bbox_mAP') == 'coco/bbox_mAP (0 to 1)'
    assert metric_label('mine') == 'mine'


def test_no_validation(trained, tmp_path):
    _, config, checkpoint = trained(
        val_dataloader=None, val_evaluator=None, val_cfg=None)
    loaded = trained_runner(config, checkpoint, tmp_path / 'out')
    with pytest.raises(ValueError, match='no validation: give .*val_cfg'):
        evaluate_subnet(loaded)


def test_no_training_images(trained, tmp_path):
    """They are needed for BatchNorm alone."""
    _, config, checkpoint = trained()
    none = dict(train_dataloader=None, train_cfg=None, optim_wrapper=None,
                param_scheduler=None)
    loaded = trained_runner(config, checkpoint, tmp_path / 'out', none)
    assert evaluate_subnet(loaded)
    with pytest.raises(ValueError, match='give it train_dataloader'):
        evaluate_subnet(loaded, (1, 1, 1))
    for module in loaded.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    assert evaluate_subnet(loaded, (1, 1, 1))


class Call:
    """Calls what a checkpoint should not."""

    def __reduce__(self):
        return print, ('a harmful thing', )


def test_checkpoints_that_are_refused(trained, tmp_path, capsys):
    _, config, checkpoint = trained()
    with pytest.raises(RuntimeError, match=r'layer1\.3\.conv1\.weight'):
        trained_runner(config, checkpoint, tmp_path / 'out',
                       dict(model=classifier(depth=32)))
    torch.save(dict(state_dict={}, meta=Call()), tmp_path / 'bad.pth')
    with pytest.raises(UnsafeCheckpointError, match='print'):
        trained_runner(config, str(tmp_path / 'bad.pth'), tmp_path / 'out')
    assert 'a harmful thing' not in capsys.readouterr().out


def test_unknown_toolbox(trained, tmp_path):
    _, config, checkpoint = trained()
    with pytest.raises(ValueError, match="default_scope = 'mmnone'"):
        trained_runner(config, checkpoint, tmp_path / 'out',
                       dict(default_scope='mmnone'))
