"""Finding stages: who is asked, who is refused, in which words."""

import re
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn
from torchvision.models import resnet18

from mmst.subnets import Block, Stage, find_stages, register_stage_finder
from tests.subnets.test_families import build, timm


@pytest.mark.parametrize(
    'name, options',
    [
        ('mmpretrain.EfficientNet', dict(arch='b0')),
        ('mmpretrain.EdgeNeXt', dict(arch='xxsmall')),
        ('mmpretrain.MlpMixer', dict(arch='s', img_size=64)),
        ('mmpretrain.MobileViT', dict(arch='xx_small')),
        ('mmpretrain.ShuffleNetV2', {}),
        ('mmpretrain.HRNet', dict(arch='w18')),
        ('mmpretrain.VGG', dict(depth=11)),
        ('torchvision.squeezenet1_1', {}),
        timm('efficientnet_b0'),
        # Its features leave the network before the next norm.
        timm('densenet121', features_only=True),
    ],
)
def test_families_that_are_not_known(name, options):
    with pytest.raises(
        TypeError, match='no residual stages found in .*[Kk]nown'
    ):
        find_stages(build(name, options))


def list_timm():
    """The shortest name of each of timm's modules of networks."""
    library = pytest.importorskip('timm')
    shortest = {}
    for module in library.list_modules():
        names = library.list_models(module=module)
        if names:
            shortest[module] = min(names, key=lambda n: (len(n), n))
    return shortest


def build_timm(name):
    create = pytest.importorskip('timm').create_model
    try:
        # Without memory: nothing is run.
        with torch.device('meta'):
            return create(name)
    except (NotImplementedError, RuntimeError):  # it computes as it is built
        return create(name)


def is_answered(network):
    """Whether stages are found; any error but the refusals is raised."""
    try:
        stages = find_stages(network)
    except TypeError as error:
        assert 'no residual stages found in' in str(error), error
        return False
    assert all(
        block.module in set(network.modules())
        for stage in stages
        for block in stage.blocks
    )
    return True


@pytest.mark.slow
def test_all_families_of_timm():
    found = {
        module
        for module, name in list_timm().items()
        if is_answered(build_timm(name))
    }
    assert {'resnet', 'resnest', 'convnext', 'deit', 'densenet'} <= found
    assert not found & {'hrnet', 'vgg', 'mobilenetv3', 'edgenext'}


@pytest.mark.slow
def test_all_families_of_mmpretrain():
    folder = Path(mmpretrain.__file__).parent / '.mim/configs/_base_/models'
    configs = {}
    for path in sorted(folder.rglob('*.py')):
        model = Config.fromfile(str(path)).get('model') or {}
        backbone = model.get('backbone')
        if model.get('type') == 'ImageClassifier' and backbone:
            configs.setdefault(backbone['type'], backbone)
    assert len(configs) > 40
    found = {
        kind
        for kind, cfg in configs.items()
        if is_answered(
            ROOT_MODELS.build(
                dict(cfg, type=f'mmpretrain.{kind}', init_cfg=None)
            )
        )
    }
    assert {'ResNet', 'SwinTransformer', 'ConvNeXt', 'DenseNet'} <= found
    assert not found & {'HRNet', 'VGG', 'LeNet5', 'EdgeNeXt', 'MlpMixer'}


class Odd(nn.Module):
    """Has the names of all families, and something else by each."""

    stages = layer1 = layer2 = blocks = backbone = len
    features, transitions, timm_model = 'x', 3, 'resnet18'
    layers = [1, 'stages', 'nothing']


def with_a_later_change():
    net = resnet18()
    net.layer2[1].downsample = nn.Conv2d(128, 64, 1)
    return net


@pytest.mark.parametrize(
    'build, message',
    [
        (Odd, 'Odd of'),
        # A later block that changes the shape.
        (with_a_later_change, 'ResNet of'),
        (
            lambda: torch.fx.symbolic_trace(resnet18()),
            'ResNet, a torch.fx GraphModule',
        ),
        (lambda: torch.jit.script(resnet18()), 'ResNet, a TorchScript module'),
    ],
)
def test_what_looks_like_a_known_network_is_refused(build, message):
    with pytest.raises(TypeError, match=f'no residual stages .*{message}'):
        find_stages(build())


@pytest.mark.parametrize('name', ['resnet18', 'convnext_atto', 'densenet121'])
def test_block_that_stands_twice_is_refused(name):
    network = build_timm(name)
    if name == 'resnet18':
        network.layer2.append(network.layer2[1])
    elif name == 'convnext_atto':
        network.stages[2].blocks.append(network.stages[2].blocks[1])
    else:
        block = network.features.denseblock1
        block.denselayer4 = block.denselayer3
    with pytest.raises(TypeError, match='in two places'):
        find_stages(network)


@pytest.mark.parametrize('model', [None, 'resnet18', nn.Linear, [nn.ReLU()]])
def test_what_is_no_network_is_named(model):
    told = f'expected a network, a torch.nn.Module, not {model!r}'
    with pytest.raises(TypeError, match=re.escape(told)):
        find_stages(model)


def test_a_later_finder_goes_before_an_earlier():
    @register_stage_finder('my ResNets')
    def find(net):
        return [Stage('mine', (Block(net.layer1[0]),))]

    assert [stage.name for stage in find_stages(resnet18())] == ['mine']
