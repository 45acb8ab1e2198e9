"""What the README shows works."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from scipy import stats

from mmst.models import STClsHead
from mmst.subnets import activate
from mmst.targets import Resizing, resize_samples
from tests.conftest import ROOT
from tests.docs.blocks import python_blocks

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


def test_plain_pytorch():
    torchvision = pytest.importorskip('torchvision')
    torch.manual_seed(0)
    model = torchvision.models.resnet50(num_classes=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.layer4[2].conv1.weight.detach().clone()
    exec(
        snippet('from mmst.models'),
        dict(
            model=model,
            optimizer=optimizer,
            images=torch.rand(2, 3, 192, 192),
            labels=torch.tensor([0, 3]),
            cross_entropy=torch.nn.functional.cross_entropy,
        ),
    )
    assert not torch.equal(before, model.layer4[2].conv1.weight)


def test_own_family(monkeypatch):
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', {})

    class MyNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = torch.nn.ModuleList(
                torch.nn.Sequential(torch.nn.Identity(), torch.nn.Tanh())
                for _ in range(2)
            )

        def forward(self, x):
            for stage in self.stages:
                x = stage(x)
            return x

    exec(snippet('from mmst.subnets import Block'), {})
    model, x = MyNet(), torch.tensor([0.5])
    with activate(model, (1, 2)):
        assert torch.equal(model(x), x.tanh())


class MySample:
    """Points (x, y) in an image of some shape (H, W)."""

    def __init__(self, points, shape):
        self.points, self.shape = points, shape

    def replaced(self, points, shape):
        return MySample(points, shape)


def test_own_sample_type(monkeypatch):
    monkeypatch.setattr('mmst.targets.handler._HANDLERS', {})
    exec(
        snippet('from mmst.targets import SampleHandler, register').replace(
            'my_package.samples', __name__
        ),
        {},
    )
    sample = MySample(torch.tensor([[12.0, 4.0]]), (8, 16))
    (small,) = resize_samples(
        [sample],
        Resizing(
            main_shape=(8, 16),
            resized_shape=(4, 8),
            padded_shape=(4, 12),
            divisor=4,
            model=None,
        ),
    )
    assert small.points.tolist() == [[6, 2]] and small.shape == (4, 12)
    assert sample.points.tolist() == [[12, 4]]


def test_paths_and_links_exist():
    for path in re.findall(r'(?:\]\(|src=")((?!http|#)[^)#"]+)', README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r'(?:tools|configs)/[\w./-]+\.(?:py|sh)', README):
        assert (ROOT / path).exists(), path


def test_backbone_from_an_st_checkpoint(tiny_runner, train, tmp_path):
    """The options of the table's last row load every backbone weight."""
    options = re.search(r'another config \| `--cfg-options (.*?)` \|', README)[
        1
    ].split()
    runner = tiny_runner('source', sampler=dict(num_subnets=1), max_epochs=1)
    runner.train()
    source = runner.model.backbone.state_dict()
    changes = dict(
        option.replace('CKPT', f'{runner.work_dir}/epoch_1.pth').split('=')
        for option in options
    )
    from tests.conftest import classifier

    cfg = Config(dict(model=classifier(st=False)))
    cfg.merge_from_dict(changes)
    model = MODELS.build(cfg.model)
    model.init_weights()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, source[key]), key


def test_fine_tuning_table_is_that_of_the_scores():
    """Mean and 95 % interval, Student's t, over the seeds."""
    results = json.loads(
        (ROOT / 'resources/demo_downstream.json').read_text()
    )['results']
    rows = re.findall(
        r'^\| [^|]+ \| (?:\w+ AP|mIoU) \| (.+) \|$', README, re.MULTILINE
    )
    metrics = [m for metrics in results.values() for m in metrics.values()]
    assert len(rows) == len(metrics) == 4
    for row, values in zip(rows, metrics):
        st, star = np.array(values['st']), np.array(values['st-star'])
        expected = []
        for scores, sign in ((st, ''), (star, ''), (star - st, '+')):
            half = (
                stats.t.ppf(0.975, len(scores) - 1)
                * scores.std(ddof=1)
                / len(scores) ** 0.5
            )
            expected.append(f'{scores.mean():{sign}.2f} ± {half:.2f}')
        assert row == ' | '.join(expected)


def test_table_of_depths_is_the_best_of_the_measured():
    """No subnet of as many FLOPs or fewer scores as high."""
    networks = json.loads((ROOT / 'resources/accuracy_cost.json').read_text())[
        'networks'
    ]
    expected = [
        f'{"-".join(map(str, n["depths"]))} | {n["score"]:.1f} | '
        f'{n["flops"] / 1e6:.1f} | {n["params"] / 1e6:.3f} | '
        f'{n["latency"]:.2f}'
        for n in sorted(networks, key=lambda n: n['flops'])
        if all(
            n['score'] > other['score']
            for other in networks
            if other is not n and other['flops'] <= n['flops']
        )
    ]
    rows = re.findall(r'^\| (\d-\d-\d\b.* \| [\d.]+) \|$', README, re.M)
    rows = [row.replace(', main', '') for row in rows]
    assert [row for row in rows if row.count('|') == 4] == expected


def test_demo_tables_are_those_of_the_scores():
    """Both tables; means and 95 % intervals, Student's t, over the seeds."""
    results = json.loads((ROOT / 'resources/demo.json').read_text())['results']

    def interval(values, sign=''):
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        return f'{np.mean(values):{sign}.2f} ± {half:.2f}'

    def scores(method, network):
        return np.array([run[network] for run in results[method]])

    for network in ('main', '1-1-1', '2-2-2', '3-3-3'):
        cells = [interval(scores(m, network)) for m in ('CT', 'ST', 'ST++')]
        assert f'| {network} | {" | ".join(cells)} |\n' in README
    rows = README.split('| method | main | 1-1-1 | 2-2-2 | main minus CT |')[1]
    rows = rows.split('\n\n')[0].splitlines()[2:]
    assert len(rows) == len(results)
    for row, method in zip(rows, results):
        cells = [
            interval(scores(method, network))
            for network in ('main', '1-1-1', '2-2-2')
        ]
        gain = scores(method, 'main') - scores('CT', 'main')
        if method != 'CT':
            cells.append(interval(gain, '+'))
        assert row.split(' | ', 1)[1].rstrip(' |') == ' | '.join(cells), method
