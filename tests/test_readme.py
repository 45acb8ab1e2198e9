"""What the README shows works."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, LOOPS
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader

from mmst.launch.toolbox import read_config
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
from tests.docs.tables import (
    comparison,
    costs_of,
    frontier_cells,
    frontier_runs,
    interval,
    results_of,
    rows_of,
    scores_by_part,
)

README = (ROOT / 'README.md').read_text()


def snippet(first_words: str) -> str:
    blocks = python_blocks(ROOT / 'README.md')
    return next(block for block in blocks if block.startswith(first_words))


def test_own_config_turned_into_st(tmp_path, tiny_runner):
    """The snippet, on one of mmpretrain's own configs."""
    import mmpretrain

    stock = (
        Path(mmpretrain.__file__).parent
        / '.mim/configs/resnet'
        / 'resnet50_8xb32_in1k.py'
    )
    (tmp_path / 'my_config.py').write_text(f"_base_ = '{stock}'\n")
    path = tmp_path / 'st.py'
    path.write_text(snippet("_base_ = './my_config.py'"))
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    assert isinstance(model.head, STClsHead)
    assert model.head.num_classes == 1000
    # The same loop and hook, on a model that is quick here.
    small = tiny_runner(
        model=dict(
            cfg.model,
            backbone=dict(
                type='ResNet',
                depth=50,
                base_channels=2,
                stem_channels=2,
                strides=(1, 1, 1, 1),  # its images have 16 px
            ),
            head=dict(
                cfg.model.head, head=dict(cfg.model.head.head, in_channels=64)
            ),
            data_preprocessor=cfg.data_preprocessor,
        ),
        sampler={k: v for k, v in cfg.custom_hooks[0].items() if k != 'type'},
        loop=cfg.train_cfg.type,
    )
    small.train()
    assert small.iter == 6 and len(small.train_loop.subnets) == 6


def test_own_config_turned_into_st_star(tmp_path):
    """A loop and a hook below a detector's config."""
    pytest.importorskip('mmdet')
    code = snippet("_base_ = 'mmdet::")
    base, *lines = [node for node in code.split('\n') if node]
    assert base.startswith('_base_') and len(lines) == 5
    for name, text in (('base', base), ('star', code)):
        (tmp_path / f'{name}.py').write_text(text)
    before, cfg = (
        read_config(str(tmp_path / f'{name}.py')) for name in ('base', 'star')
    )
    assert cfg.model == before.model
    loop = LOOPS.build(
        dict(cfg.train_cfg),
        default_args=dict(
            runner=SimpleNamespace(hooks=[]), dataloader=DataLoader([0])
        ),
    )
    assert type(loop).__name__ == 'STEpochBasedTrainLoop'
    assert loop.max_epochs == before.train_cfg.max_epochs
    sampler = HOOKS.build(cfg.custom_hooks[0]).sampler
    cfg.model.backbone.init_cfg = None
    sampler.fit(MODELS.build(cfg.model.backbone))
    assert sampler.space.candidates == (1, 2, 4, 1)
    assert sampler.draw(0)[0].size is not None


def test_plain_pytorch():
    torchvision = pytest.importorskip('torchvision')
    torch.manual_seed(0)
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


def test_paths_and_links_exist():
    for path in re.findall(r'(?:\]\(|src=")((?!http|#)[^)#"]+)', README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r'(?:tools|configs)/[\w./-]+\.(?:py|sh)', README):
        assert (ROOT / path).exists(), path


def test_newcomer_reads_little():
    assert len(README.splitlines()) <= 220
    commands = rows_of('README.md', '| you want to | type |')
    assert 8 <= len(commands) <= 10


def test_results_are_those_of_the_scores():
    rows = rows_of(
        'README.md',
        '| task | metric | common training | with subnets | gain '
        '| common training of the same cost |',
    )
    assert len(rows) <= 8
    # All of one version: the arms that are compared were run together.
    scores, costs = results_of('demo_equal_cost'), costs_of('demo_equal_cost')
    digits = [
        [
            *comparison(
                [run[network] for run in scores['CT']],
                [run[network] for run in scores['ST++']],
            ),
            interval([run[network] for run in costs['ST++']['scores']]),
        ]
        for network in ('main', '1-1-1')
    ]
    runs = frontier_runs('frontier')
    numbers = []
    for epochs in (20, 80):
        _, ct, *_ = frontier_cells(runs, 'ct', epochs)
        _, ours, gain, *_, equal = frontier_cells(runs, 'stpp', epochs)
        numbers.append([ct, ours, gain, equal])
    # The weight that was best on a split; equal epochs cost the same.
    exits = scores_by_part('frontier_vit')
    vit = comparison(exits['ct', 40]['main'], exits['st-weak', 40]['main'])
    costs = costs_of('demo_downstream')
    downstream = [
        [
            *comparison(values['st'], values['st-star']),
            interval(costs[name]['scores'][metric]),
        ]
        for name, metrics in results_of('demo_downstream').items()
        for metric, values in metrics.items()
        if metric != 'coco/segm_mAP'
    ]
    assert [row[2:] for row in rows] == [
        *digits,
        *numbers,
        [*vit, vit[0]],
        *downstream,
    ]


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
    'ViT': (
        'torchvision',
        'VisionTransformer',
        dict(
            image_size=32,
            patch_size=8,
            num_layers=3,
            num_heads=3,
            hidden_dim=24,
            mlp_dim=48,
        ),
        32,
    ),
    'Swin': (
        'torchvision',
        'SwinTransformer',
        dict(
            patch_size=[4, 4],
            embed_dim=24,
            depths=[2, 3],
            num_heads=[3, 6],
            window_size=[4, 4],
        ),
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
    torch.manual_seed(0)
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
