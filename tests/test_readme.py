"""What the README shows works."""

import re

import pytest
import torch
from mmengine.config import Config

from mmst.subnets import (
    PassRunner,
    SubnetSampler,
    activate,
    export_subnet,
    find_stages,
)
from tests.conftest import ROOT
from tests.docs.blocks import python_blocks
from tests.subnets.test_families import NETWORKS as FAMILIES
from tests.subnets.test_families import build

README = (ROOT / 'README.md').read_text()


def snippet(first_words: str) -> str:
    blocks = python_blocks(ROOT / 'README.md')
    return next(block for block in blocks if block.startswith(first_words))


def test_own_config_turned_into_st(tmp_path, tiny_runner):
    """The snippet, on one of mmpretrain's own configs."""
    (tmp_path / 'my_config.py').write_text(
        "_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'\n"
    )
    path = tmp_path / 'st.py'
    path.write_text(snippet("_base_ = './my_config.py'"))
    cfg = Config.fromfile(path)
    # The same loop and hook, on a model that is quick here.
    cfg.model.head.head.in_channels = 64
    cfg.model.backbone = dict(
        type='ResNet',
        depth=50,
        base_channels=2,
        stem_channels=2,
        strides=(1, 1, 1, 1),  # its images have 16 px
    )
    small = tiny_runner(
        model=cfg.model,
        hooks=cfg.custom_hooks,
        loop=cfg.train_cfg.type,
        max_epochs=1,
    )
    small.train()
    assert small.iter == 3 and len(small.train_loop.subnets) == 6


def test_plain_pytorch():
    torchvision = pytest.importorskip('torchvision')
    model = torchvision.models.resnet18(num_classes=4)
    before = {k: p.detach().clone() for k, p in model.named_parameters()}
    ran = []
    for stage in find_stages(model):
        stage.blocks[-1].module.register_forward_hook(
            lambda module, inputs, _: ran.append(inputs[0].shape)
        )
    names = dict(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loader=[(torch.rand(2, 3, 64, 64), torch.tensor([0, 3]))],
        epochs=2,
        cross_entropy=torch.nn.functional.cross_entropy,
    )
    code = snippet('from mmst.subnets import PassRunner')
    assert len(code.splitlines()) <= 20
    exec(code, names)
    for name, parameter in model.named_parameters():
        assert not torch.equal(before[name], parameter), name
    # Twice the main network; subnets leave last blocks out or see less.
    assert 8 <= len(ran) <= 16 and len(set(ran)) > 4
    assert torch.isfinite(names['small']).all() and names['iteration'] == 2


def test_newcomer_reads_little():
    assert len(README.splitlines()) <= 225


DENSENET = dict(growth_rate=8, block_config=(2, 2, 3, 2), num_init_features=16)
#: Options and the side of images, by full name.
NETWORKS = {name: row for name, *row, _ in FAMILIES}
NETWORKS['torchvision.DenseNet'] = [DENSENET, 32]


@pytest.mark.parametrize(
    'row, name',
    [
        ('ResNet', 'torchvision.resnet18'),
        ('MobileNetV2', 'mmpretrain.MobileNetV2'),
        ('DenseNet', 'torchvision.DenseNet'),
        ('ViT', 'torchvision.VisionTransformer'),
        ('Swin', 'torchvision.SwinTransformer'),
        ('PVT', 'mmdet.PyramidVisionTransformer'),
    ],
)
def test_table_of_features(row, name):
    """What the table says yes to works, and what it says no to is refused."""
    (line,) = re.findall(rf'^\| {row}\b.*$', README, re.MULTILINE)
    says = [cell.strip() == 'yes' for cell in line.strip('|').split('|')[1:]]
    pytest.importorskip(name.partition('.')[0])
    options, side = NETWORKS[name]
    model = build(name, options)
    model.train()
    images = torch.rand(2, 3, side, side).double()

    def run(network: torch.nn.Module) -> torch.Tensor:
        output = network(images)
        return output[-1] if isinstance(output, (list, tuple)) else output

    works = []
    for strategy in ('ordered', 'stochastic', 'raw'):
        try:
            sampler = SubnetSampler(strategy=strategy).fit(model)
        except ValueError:
            works.append(False)
            continue
        with activate(model, sampler.draw(0)[0]):
            works.append(bool(run(model).isfinite().all()))
    runner, subnets = PassRunner(model), SubnetSampler(3).fit(model).draw(0)
    difference = runner.verify(
        [None, *subnets], lambda subnet: run(model).square().mean()
    )
    works.append(difference is None and runner.parted is None)
    # Not chained: some networks' `eval` returns nothing.
    model.eval()
    depths = [max(1, len(stage) - 1) for stage in find_stages(model)]
    small = export_subnet(model, depths)
    with torch.no_grad(), activate(model, depths):
        works.append(torch.allclose(run(small), run(model), atol=1e-5))
    assert works == says
