"""The code that the pages have readers write is enough."""

import torch

from mmst.subnets import activate
from mmst.targets import Resizing, resize_samples
from tests.conftest import ROOT

from .blocks import python_blocks


def first_block(page: str) -> str:
    return python_blocks(ROOT / 'docs/how_to' / page)[0]


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

    exec(first_block('add_network_family.md'), {})
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
        first_block('add_sample_type.md').replace(
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
