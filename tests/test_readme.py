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
from mmst.subnets import find_stages
from tests.conftest import ROOT
from tests.docs.blocks import python_blocks
from tests.docs.tables import (
    comparison,
    costs_of,
    digit_scores,
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
                type='ResNet', depth=50, base_channels=2, stem_channels=2
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
        loader=[(torch.rand(2, 3, 64, 64), torch.tensor([0, 3]))] * 2,
        cross_entropy=torch.nn.functional.cross_entropy,
    )
    code = snippet('from mmst.subnets import SubnetSampler')
    assert len(code.splitlines()) <= 13
    exec(code, names)
    for name, parameter in model.named_parameters():
        assert not torch.equal(before[name], parameter), name
    # Twice the main network; subnets leave last blocks out or see less.
    assert 8 <= len(ran) <= 16 and len(set(ran)) > 4
    assert torch.isfinite(names['small']).all()


def test_paths_and_links_exist():
    for path in re.findall(r'(?:\]\(|src=")((?!http|#)[^)#"]+)', README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r'(?:tools|configs)/[\w./-]+\.(?:py|sh)', README):
        assert (ROOT / path).exists(), path


def test_newcomer_reads_two_hundred_lines_at_most():
    assert len(README.splitlines()) <= 200
    commands = rows_of('README.md', '| you want to | type |')
    assert 8 <= len(commands) <= 10


def test_results_are_those_of_the_scores():
    rows = rows_of(
        'README.md',
        '| task | metric | common training | with subnets | gain '
        '| common training of the same cost |',
    )
    digits = []
    for ours, network in (
        ('ST++', 'main'),
        ('ST++ + InterSSR', 'main'),
        ('ST++', '1-1-1'),
    ):
        longer = costs_of('demo_equal_cost')[ours]['scores']
        digits.append(
            [
                *comparison(
                    digit_scores('CT', network), digit_scores(ours, network)
                ),
                interval([scores[network] for scores in longer]),
            ]
        )
    runs = frontier_runs('frontier')
    numbers = []
    for arm in ('stpp', 'stpp-k1'):
        for epochs in (20, 40, 80):
            _, ct, *_ = frontier_cells(runs, 'ct', epochs)
            _, ours, gain, *_, equal = frontier_cells(runs, arm, epochs)
            numbers.append([ct, ours, gain, equal])
    # The weight that was best on a split; equal epochs cost the same.
    exits = scores_by_part('frontier_vit')
    vit = [
        comparison(
            exits['ct', epochs]['main'], exits['st-weak', epochs]['main']
        )
        for epochs in (40, 80)
    ]
    pretrained = {
        key: parts['fine-tuning']
        for key, parts in scores_by_part('frontier_mae').items()
    }
    mae = comparison(pretrained['ct', 40], pretrained['st', 40])
    costs = costs_of('demo_downstream')
    downstream = [
        [
            *comparison(values['st'], values['st-star']),
            interval(costs[name]['scores'][metric]),
        ]
        for name, metrics in results_of('demo_downstream').items()
        for metric, values in metrics.items()
    ]
    assert [row[2:] for row in rows] == [
        *digits,
        *numbers,
        *([*cells, cells[0]] for cells in vit),
        [*mae, interval(pretrained['ct', 70])],
        *downstream,
    ]
