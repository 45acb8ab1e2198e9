"""The loop that the docs show, on real networks of torchvision and timm."""

import runpy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmst.subnets import SubnetSampler, activate
from tests.configs.test_released_procedure import standardized
from tests.conftest import ROOT

NUM_CLASSES = 5


@pytest.fixture(scope='module')
def train_epoch():
    return runpy.run_path(str(ROOT / 'docs/how_to/plain_pytorch.py'))[
        'train_epoch'
    ]


def network(name: str) -> nn.Module:
    package, _, kind = name.partition(' ')
    package = pytest.importorskip(package)
    if kind == 'ViT':
        return package.create_model(
            'vit_tiny_patch16_224',
            num_classes=NUM_CLASSES,
            img_size=64,
            depth=3,
            dynamic_img_size=True,
            dynamic_img_pad=True,
        )
    return package.models.resnet18(num_classes=NUM_CLASSES)


def divergence(main: Tensor, subnet: Tensor) -> Tensor:
    p, q = (standardized(z).log_softmax(1) for z in (main.detach(), subnet))
    return F.kl_div(q, p, reduction='batchmean', log_target=True)


@pytest.mark.parametrize(
    'name, sizes',
    [
        ('torchvision ResNet', dict(size_range=(0.5, 1.0))),
        ('timm ResNet', dict(size_range=(0.5, 1.0), num_sizes=1)),
        ('timm ViT', dict(size_range=(0.5, 1.0), num_sizes=1)),
        ('timm ViT', dict()),  # the main network's
    ],
    ids=['apart', 'shared', 'shared ViT', 'with the main network'],
)
def test_gradients_are_those_of_the_summed_losses(train_epoch, name, sizes):
    """In the second of two steps; both together change all weights."""
    model = network(name).double()
    batches = [
        (torch.rand(3, 3, 64, 64).double(), torch.randint(NUM_CLASSES, (3,)))
        for _ in range(2)
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    steps = []

    def keep(*_):
        steps.append(
            [(p.detach().clone(), p.grad.clone()) for p in model.parameters()]
        )

    optimizer.register_step_pre_hook(keep)
    sampler = SubnetSampler(2, **sizes, seed=1).fit(model)
    history = train_epoch(model, batches, optimizer, sampler, start=7)

    # The same draws and weights, and the losses in one graph.
    (images, labels), parameters = batches[1], list(model.parameters())
    for parameter, (before, _), (value, _) in zip(parameters, *steps):
        assert not torch.equal(parameter, before)
        parameter.data = value
        parameter.grad = None
    main = model(images)
    expected = [F.cross_entropy(standardized(main), labels)]
    for subnet in sampler.draw(8):
        side = round(64 * (subnet.size or 1))
        small = F.interpolate(
            images, (side, side), mode='bilinear', align_corners=False
        )
        with activate(model, subnet):
            expected.append(divergence(main, model(small)))
    sum(expected).backward()
    assert len(expected) == 3
    assert history[1] == pytest.approx([loss.item() for loss in expected])
    for parameter, (_, gradient) in zip(parameters, steps[1]):
        torch.testing.assert_close(
            gradient, parameter.grad, rtol=1e-6, atol=1e-9
        )
