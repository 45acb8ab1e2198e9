"""ResNets of other projects do in mmpretrain what they did at home."""

import pytest
import torch
import torchvision

from mmst.checkpoints import RESNETS, convert_resnet

from .conftest import ReleasedResNet, randomise, stock_classifier

COUNTER = 'num_batches_tracked'


def assert_same_network(source, depth, converted, **backbone):
    """Strict loading, equal logits; the images are no multiple of 32."""
    model = stock_classifier(depth, **backbone)
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
    [
        34,
        pytest.param(101, marks=pytest.mark.slow),
        pytest.param(152, marks=pytest.mark.slow),
    ],
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
    headless = {
        key: value
        for key, value in released.state_dict().items()
        if not key.startswith('classifier')
    }
    assert (
        convert_resnet(headless, backbone_only=True).keys() == backbone.keys()
    )
    with pytest.raises(ValueError, match='head.fc.bias.*\n.*--backbone'):
        convert_resnet(headless)


@pytest.mark.parametrize('backbone_only', [True, False])
def test_left_over_and_missing_keys_are_listed(released, backbone_only):
    keys = released.state_dict()
    del keys['features.5.body.0.weight'], keys['features.0.1.running_var']
    keys['features.5.body.9.weight'] = keys['extra'] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        convert_resnet(keys, backbone_only=backbone_only)
    assert (
        'surplus, 2: extra, features.5.body.9.weight\n'
        "missing, 2, by mmpretrain's names: backbone.bn1.running_var, "
        'backbone.layer2.0.conv1.weight'
    ) in str(error.value)


def test_one_key_too_many_or_too_few_is_enough(released):
    keys = released.state_dict()
    del keys['features.15.shortcut.1.bias']
    with pytest.raises(
        ValueError,
        match=r'missing, 1, .*: backbone.layer4.0.downsample.1.bias',
    ):
        convert_resnet(keys)
    for name in ('extra', 'conv1.weight'):
        keys = dict(released.state_dict(), **{name: torch.zeros(1)})
        with pytest.raises(ValueError, match=f'surplus, 1: {name}'):
            convert_resnet(keys)


def test_a_missing_block_is_named(released):
    keys = {
        key: value
        for key, value in released.state_dict().items()
        if not key.startswith('features.17.')
    }
    for depth in (None, 50):
        message = r'ResNet-50 .*\nmissing, 15,.*layer4.2.conv1'
        with pytest.raises(ValueError, match=message):
            convert_resnet(keys, depth=depth)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(layout='keras'), r"layout='keras' .*'released', 'torchvision'"),
        (dict(depth=20), r'depth=20 .*18, 34, 50, 101, 152'),
        (dict(layout='torchvision'), 'surplus, .*features'),
        (
            dict(depth=18),
            r'of a ResNet-18 (.*\n)*surplus, .*(.*\n)*missing, ',
        ),
    ],
)
def test_wrong_options(released, options, message):
    with pytest.raises(ValueError, match=message):
        convert_resnet(released.state_dict(), **options)


def test_other_networks_are_refused():
    with torch.device('meta'):
        mobilenet = torchvision.models.mobilenet_v2()
    for model in (mobilenet, stock_classifier(18, base_channels=4)):
        with pytest.raises(ValueError, match='in no known layout'):
            convert_resnet(model.state_dict())
