"""ResNets of other projects do in mmpretrain what they did at home."""

import pytest
import torch
import torchvision

from mmst.checkpoints import RESNETS, convert_resnet

from .conftest import ReleasedResNet, randomise, stock_classifier

COUNTER = 'num_batches_tracked'


def assert_same_network(source, depth, converted, base_channels=64):
    """Strict loading, equal logits; the images are no multiple of 32."""
    model = stock_classifier(depth, base_channels)
    model.load_state_dict(converted, strict=True)
    images = torch.rand(2, 3, 70, 50, dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = model(images, mode='tensor'), source(images)
    assert theirs.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    'depth, pool_entry',
    [
        (18, True),
        (50, False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(18, False), (50, True), (101, True), (101, False)]
        ),
    ],
)
def test_released_layout(depth, pool_entry):
    convs, num_blocks = RESNETS[depth]
    source = randomise(
        ReleasedResNet(
            num_blocks, bottleneck=convs == 3, pool_entry=pool_entry
        )
    )
    first = f'features.{2 if pool_entry else 1}.body.0.weight'
    assert first in source.state_dict()
    converted = convert_resnet(source.state_dict())
    assert_same_network(source, depth, converted, base_channels=4)
    for name in ('backbone.bn1', 'backbone.layer4.1.bn2'):
        assert converted[f'{name}.{COUNTER}'] > 0


@pytest.mark.parametrize('depth, layout', [(18, 'timm'), (50, None)])
def test_torchvision_layout(depth, layout):
    source = randomise(
        getattr(torchvision.models, f'resnet{depth}')(num_classes=5)
    )
    converted = convert_resnet(source.state_dict(), layout)
    assert_same_network(source, depth, converted)


@pytest.mark.parametrize(
    'depth',
    [34, *(pytest.param(d, marks=pytest.mark.slow) for d in (101, 152))],
)
def test_other_torchvision_depths_get_mmpretrains_keys(depth):
    with torch.device('meta'):
        source = getattr(torchvision.models, f'resnet{depth}')()
    model = stock_classifier(depth, base_channels=4)
    assert (
        convert_resnet(source.state_dict()).keys() == model.state_dict().keys()
    )


def test_absent_batch_counters_start_at_zero(released):
    keys = released.state_dict()
    kept = f'features.3.body.1.{COUNTER}'
    without = {
        key: value
        for key, value in keys.items()
        if key == kept or not key.endswith(COUNTER)
    }
    converted = convert_resnet(without)
    assert converted.keys() == convert_resnet(keys).keys()
    assert converted[f'backbone.layer1.1.bn1.{COUNTER}'] == keys[kept] > 0
    created = converted[f'backbone.bn1.{COUNTER}']
    assert created == 0 and created.dtype is torch.int64
    assert_same_network(released, 50, converted, base_channels=4)


def test_backbone_only(released):
    whole = convert_resnet(released.state_dict())
    backbone = convert_resnet(released.state_dict(), backbone_only=True)
    assert whole.keys() - backbone.keys() == {'head.fc.weight', 'head.fc.bias'}
    assert all(key.startswith('backbone.') for key in backbone)
    headless = edit(released.state_dict(), without=('classifier',))
    assert (
        convert_resnet(headless, backbone_only=True).keys() == backbone.keys()
    )


def edit(keys, without=(), add=()):
    return {
        **{key: keys[key] for key in keys if not key.startswith(without)},
        **{key: torch.zeros(1) for key in add},
    }


LAST_BLOCK = dict(without=('features.17.',))


@pytest.mark.parametrize(
    'change, options, message',
    [
        (
            dict(
                without=('features.5.body.0.weight', 'features.0.1.running_v'),
                add=('features.5.body.9.weight', 'extra'),
            ),
            dict(backbone_only=True),
            'surplus, 2: extra, features.5.body.9.weight\n'
            "missing, 2, by mmpretrain's names: backbone.bn1.running_var, "
            'backbone.layer2.0.conv1.weight$',
        ),
        # One key too many or too few is enough.
        (
            *(dict(without=('features.15.shortcut.1.bias',)), {}),
            'missing, 1, .*: backbone.layer4.0.downsample.1.bias$',
        ),
        (dict(add=('extra',)), {}, 'surplus, 1: extra\n'),
        (dict(add=('conv1.weight',)), {}, 'surplus, 1: conv1.weight\n'),
        *(
            (LAST_BLOCK, given, r'ResNet-50 (.*\n)*missing, 15,.*layer4.2.co')
            for given in ({}, dict(depth=50))
        ),
        (
            *(dict(without=('classifier',)), {}),
            '--backbone-only (.*\n)*missing, 2, .*: head.fc.weight, head.fc.',
        ),
        # Wrong options.
        (
            *({}, dict(layout='keras')),
            "layout='keras' .*'released', 'torchvision'",
        ),
        ({}, dict(depth=20), 'depth=20 .*18, 34, 50, 101, 152'),
        ({}, dict(layout='torchvision'), 'surplus, .*features'),
        (
            *({}, dict(depth=18)),
            'of a ResNet-18 (.*\n)*surplus, .*(.*\n)*missing, ',
        ),
    ],
)
def test_keys_and_options_that_do_not_fit(released, change, options, message):
    with pytest.raises(ValueError, match=message):
        convert_resnet(edit(released.state_dict(), **change), **options)


def test_other_networks_are_refused():
    with torch.device('meta'):
        mobilenet = torchvision.models.mobilenet_v2()
    for model in (mobilenet, stock_classifier(18, base_channels=4)):
        with pytest.raises(ValueError, match='in no known layout'):
            convert_resnet(model.state_dict())
