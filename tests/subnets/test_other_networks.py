"""Whatever network is asked has stages, or is refused in the same words."""

from collections import defaultdict
from pathlib import Path

import mmpretrain
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn

from mmst.subnets import find_stages

timm = pytest.importorskip('timm')

MMPRETRAIN = Path(mmpretrain.__file__).parent / '.mim/configs/_base_/models'
FEW = ['hrnet', 'resnet', 'vgg', 'mobilenetv3', 'convnext']


def list_timm():
    """The shortest name of each of timm's modules of networks."""
    modules = defaultdict(list)
    for module in timm.list_modules():
        modules[module] = timm.list_models(module=module)
    return {
        module: min(names, key=lambda name: (len(name), name))
        for module, names in modules.items()
        if names
    }


def build_timm(name):
    try:
        # Without memory: nothing is run.
        with torch.device('meta'):
            return timm.create_model(name)
    except (NotImplementedError, RuntimeError):  # it computes as it is built
        return timm.create_model(name)


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


@pytest.mark.parametrize('module', FEW)
def test_networks_of_timm(module):
    network = build_timm(list_timm()[module])
    assert is_answered(network) is (module in ('resnet', 'convnext'))


@pytest.mark.slow
def test_all_families_of_timm():
    found = {
        module
        for module, name in list_timm().items()
        if is_answered(build_timm(name))
    }
    assert {'resnet', 'resnest', 'convnext', 'deit', 'densenet'} <= found
    assert not found & {'hrnet', 'vgg', 'mobilenetv3', 'edgenext'}


def list_mmpretrain():
    """A config of each of mmpretrain's backbones."""
    configs = {}
    for path in sorted(MMPRETRAIN.rglob('*.py')):
        model = Config.fromfile(str(path)).get('model') or {}
        backbone = model.get('backbone')
        if model.get('type') == 'ImageClassifier' and backbone:
            configs.setdefault(backbone['type'], backbone)
    return configs


@pytest.mark.slow
def test_all_families_of_mmpretrain():
    configs = list_mmpretrain()
    assert len(configs) > 40
    found = {
        kind
        for kind, backbone in configs.items()
        if is_answered(MODELS.build(dict(backbone, init_cfg=None)))
    }
    assert {'ResNet', 'SwinTransformer', 'ConvNeXt', 'DenseNet'} <= found
    assert not found & {'HRNet', 'VGG', 'LeNet5', 'EdgeNeXt', 'MlpMixer'}


class Odd(nn.Module):
    """Has the names of all families, and something else by each."""

    stages = layer1 = layer2 = blocks = backbone = len
    features, transitions, timm_model = 'x', 3, 'resnet18'
    layers = [1, 'stages', 'nothing']


def test_attributes_of_other_types_are_not_taken_for_stages():
    with pytest.raises(TypeError, match='no residual stages found in Odd of'):
        find_stages(Odd())


def test_downsample_that_is_no_module():
    net = nn.Sequential()
    net.layer1, net.layer2 = (nn.Sequential(nn.Tanh()) for _ in range(2))
    for layer in (net.layer1, net.layer2):
        layer[0].downsample = False
        layer[0].relu = nn.ReLU()
    with pytest.raises(TypeError, match='no residual stages found'):
        find_stages(net)


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


@pytest.mark.parametrize(
    'trace, message',
    [
        (torch.fx.symbolic_trace, 'ResNet, a torch.fx GraphModule'),
        (torch.jit.script, 'ResNet, a TorchScript module'),
    ],
)
def test_message_says_what_a_traced_network_is(trace, message):
    resnet18 = pytest.importorskip('torchvision').models.resnet18
    with pytest.raises(TypeError, match=message):
        find_stages(trace(resnet18()))
