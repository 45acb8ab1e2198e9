"""One temperature, fitted by search, and measured bin by bin."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from mmst.evaluation import (
    bake_temperature,
    collect_training_logits,
    collect_validation_logits,
    fit_temperature,
    measure_quality,
    run_as_subnet,
)
from mmst.evaluation.calibration import find_last_layer
from tests.conftest import batch, classifier


def made_up(num=300, classes=5, size=7.0, noise=1.0):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (num,), generator=generator)
    logits = torch.randn(num, classes, generator=generator) * noise
    logits[range(num), labels] += 1
    return logits * size, labels


def cross_entropy(logits, labels, temperature, smoothing=0.0):
    logits = logits.double().numpy() / temperature
    logits = logits - logits.max(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    right = log_p[range(len(labels)), labels.numpy()]
    return -(1 - smoothing) * right.mean() - smoothing * log_p.mean()


@pytest.mark.parametrize('size', [0.01, 1.0, 500.0])
@pytest.mark.parametrize('noise', [1.0, 0.05])
def test_temperature_has_the_least_cross_entropy(size, noise):
    logits, labels = made_up(size=size, noise=noise)
    temperature = fit_temperature(logits, labels)
    smoothing = 1 / (len(labels) + 2)
    nearby = temperature * np.linspace(0.5, 2, 301)  # 0.5 % apart
    best = min(
        nearby, key=lambda t: cross_entropy(logits, labels, t, smoothing)
    )
    assert temperature == pytest.approx(best, rel=0.01)


def test_quality_against_plain_numpy():
    logits, labels = made_up(size=2.0)
    found = measure_quality(logits, labels)
    assert found.cross_entropy == pytest.approx(
        cross_entropy(logits, labels, 1.0)
    )
    scores = np.exp(logits.double().numpy())
    confidence = scores.max(1) / scores.sum(1)
    right = scores.argmax(1) == labels.numpy()
    error = 0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gap = abs(confidence[inside].mean() - right[inside].mean())
            error += inside.mean() * gap
    assert found.calibration_error == pytest.approx(error)
    assert found.calibration_error > 0.05


@pytest.mark.parametrize('value', [0.0, float('nan'), float('inf')])
def test_logits_without_a_temperature_are_refused(value):
    with pytest.raises(ValueError, match='no temperature can be fitted'):
        fit_temperature(torch.full((4, 3), value), torch.zeros(4).long())


@pytest.mark.parametrize('depths', [None, (1, 2, 1, 1)])
def test_scores_change_and_classes_do_not(load, depths):
    """In place, for as long as asked; a subnet has its own temperature."""
    runner = load()
    with run_as_subnet(runner, depths, 4):
        before, labels = collect_validation_logits(runner)
        expected = fit_temperature(*collect_training_logits(runner, 4))
        with pytest.raises(KeyError):
            with bake_temperature(runner, 4) as temperature:
                after, _ = collect_validation_logits(runner)
                raise KeyError
        again, _ = collect_validation_logits(runner)
    assert temperature == expected != 1
    scaled = before / temperature
    # A logit near zero is the rounding of terms as large as the others.
    atol = 1e-6 * scaled.abs().max().item()
    torch.testing.assert_close(after, scaled, rtol=1e-5, atol=atol)
    assert torch.equal(after.argmax(1), before.argmax(1))
    assert torch.equal(again, before)
    assert len(labels) == len(before) == 4


@pytest.mark.parametrize('kind', ['validation', 'training'])
def test_effect_is_logged(load, caplog, kind):
    """On validation images, if there are any."""
    none = dict.fromkeys(('val_dataloader', 'val_evaluator', 'val_cfg'), None)
    runner = load(**(none if kind == 'training' else {}))
    logits, labels = collect_training_logits(runner, 4)  # the same images
    runner.logger.addHandler(caplog.handler)
    runner.logger.setLevel('INFO')
    with bake_temperature(runner, 4) as temperature:
        pass
    assert f'Temperature {temperature:.4g}; on {kind} images' in caplog.text
    before = measure_quality(logits, labels)
    after = measure_quality(logits / temperature, labels)
    for first, second, name in zip(
        before, after, ('cross-entropy', 'calibration error')
    ):
        assert f'{name} {first:.4f} -> {second:.4f}' in caplog.text


@pytest.mark.parametrize(
    'kind, options, name',
    [
        ('Linear', {}, 'fc'),
        ('StackedLinear', dict(mid_channels=[6]), 'layers.1.fc'),
        ('VisionTransformer', dict(hidden_dim=6), 'layers.head'),
    ],
)
def test_last_layer_of_heads(kind, options, name):
    config = classifier(st=False)
    config['head'].update(type=f'{kind}ClsHead', **options)
    model = MODELS.build(config)
    data = model.data_preprocessor(batch(double=False))
    assert find_last_layer(model, data) is model.head.get_submodule(name)


def test_another_head_and_no_classifier_are_refused():
    model = MODELS.build(classifier(st=False))
    model.head = nn.Sequential()
    model.head.forward = lambda feats: 2 * feats[-1][:, :4]
    data = model.data_preprocessor(batch(double=False))
    with pytest.raises(TypeError, match='not the output of one linear layer'):
        find_last_layer(model, data)
    with pytest.raises(TypeError, match='one logit vector per image'):
        find_last_layer(nn.Conv2d(3, 3, 3), data)
