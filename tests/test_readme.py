"""What the README shows works."""

import re

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from mmst.models import STClsHead
from mmst.subnets import (
    PassRunner,
    SubnetSampler,
    activate,
    export_subnet,
    find_stages,
)
from tests.conftest import ROOT
from tests.docs.blocks import python_blocks

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
    model = MODELS.build(cfg.model)
    assert isinstance(model.head, STClsHead)
    assert model.head.num_classes == 1000
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


VIT = dict(image_size=32, patch_size=8, num_heads=3, hidden_dim=24, mlp_dim=48)
SWIN = dict(patch_size=[4, 4], window_size=[4, 4], embed_dim=24)
#: A network for each row of the table of features, and its images' side.
NETWORKS = {
    'ResNet': ('torchvision', 'resnet18', {}, 32),
    'MobileNetV2': ('mmpretrain', 'MobileNetV2', {}, 64),
    'DenseNet': (
        'torchvision',
        'DenseNet',
        dict(growth_rate=8, block_config=(2, 2, 3, 2), num_init_features=16),
        32,
    ),
    'ViT': ('torchvision', 'VisionTransformer', dict(VIT, num_layers=3), 32),
    'Swin': (
        'torchvision',
        'SwinTransformer',
        dict(SWIN, depths=[2, 3], num_heads=[3, 6]),
        32,
    ),
    'PVT': (
        'mmdet',
        'PyramidVisionTransformer',
        dict(embed_dims=8, pretrain_img_size=64),
        64,
    ),
}


@pytest.mark.parametrize('name', list(NETWORKS))
def test_table_of_features(name):
    """What the table says yes to works, and what it says no to is refused."""
    (row,) = re.findall(rf'^\| {name}\b.*$', README, re.MULTILINE)
    says = [cell.strip() == 'yes' for cell in row.strip('|').split('|')[1:]]
    package, kind, options, side = NETWORKS[name]
    model = getattr(pytest.importorskip(f'{package}.models'), kind)(**options)
    images = torch.rand(2, 3, side, side)

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
