"""What iterations cost: predictions against what runs."""

import pytest
import torch

from mmst.subnets import (
    PassRunner,
    SubnetSampler,
    count_flops,
    count_pass_flops,
    find_stages,
    iteration_cost,
    measure_cost,
    predict_iteration_cost,
    resize_inputs,
)
from tests.conftest import build_classifier
from tests.subnets.hand_cut_densenet import mmpretrain_densenet
from tests.subnets.passes_apart import loss_of, shared, some_passes
from tests.subnets.test_families import NETWORKS, build, row_id

# One of each kind: layers between stages, pairs as outputs, early exits.
NAMES = (
    'mmpretrain.ResNet-50',
    'mmpretrain.TIMMBackbone-resnet18',
    'mmpretrain.MobileNetV2',
    'mmpretrain.VisionTransformer-deit-tiny',
    'mmdet.SwinTransformer',
    'mmdet.PyramidVisionTransformer',
    'torchvision.ConvNeXt',
)
BUILDS = {
    row_id(row): (lambda row=row: build(*row[:2]), row[2])
    for row in NETWORKS
    if row_id(row) in NAMES
}
BUILDS['mmpretrain.DenseNet'] = (lambda: mmpretrain_densenet().backbone, 32)


@pytest.mark.parametrize('name', BUILDS)
def test_flops_of_a_whole_iteration(name):
    """They are counted as they run, with backward passes and without."""
    assert len(BUILDS) == len(NAMES) + 1
    build, size = BUILDS[name]
    model = build()
    stages = find_stages(model)
    images = list(torch.rand(2, 1, 3, size, size).double())
    cost = measure_cost(model, images[0])
    subnets, images = some_passes(model, images, ('ordered', 'stochastic'))
    predicted = count_pass_flops(
        stages, subnets, list(map(id, images)), [cost] * len(subnets)
    )
    numbers = iter(range(len(subnets)))
    by_pass = dict(zip(subnets, images))
    with count_flops() as flops:
        PassRunner(model).run(
            subnets,
            # Nothing is backpropagated through the network.
            lambda subnet: (
                loss_of(model, by_pass[subnet], next(numbers))
                .detach()
                .requires_grad_()
            ),
            list(map(id, images)),
        )
    assert flops() == predicted
    if any(getattr(module, 'groups', 1) > 1 for module in model.modules()):
        return  # PyTorch counts too much for their backward passes
    with count_flops() as flops:
        loss_of(model, images[0], 0).backward()
    # Three times the forward pass, but nobody needs the image's gradient.
    not_needed = 3 * cost.total - flops()
    assert 0 < not_needed <= cost.before[0]
    with count_flops() as flops:
        shared(model, images, subnets)
    assert flops() == 3 * predicted - 2 * not_needed


@pytest.mark.parametrize(
    'options',
    [
        dict(num_subnets=1),
        dict(num_subnets=4, sizes=(12, 16)),
        dict(num_subnets=4, sizes=(12, 16), num_sizes=1),
        dict(num_subnets=3, strategy='stochastic', size_range=(0.5, 1.0)),
        dict(num_subnets='all', space=(1, 2, 3), begin=7, every=3),
        dict(num_subnets=3, size_range=(8, 16), num_sizes=1, sandwich=True),
    ],
)
def test_cost_of_an_average_iteration(monkeypatch, options):
    """Against iterations that are run, and FLOPs counted."""
    monkeypatch.setattr(iteration_cost, 'NUM_DRAWN', 12)
    model = build_classifier(double=False).backbone
    image = torch.rand(1, 3, 16, 16)
    sampler = SubnetSampler(**options).fit(model)
    with count_flops() as plain:
        loss_of(model, image, 0).backward()
    total, num_iterations = 0, -(-12 // sampler.num_subnets)
    for number in range(num_iterations):
        drawn = sampler.draw(sampler.begin + number * sampler.every)
        images = [resize_inputs(image, subnet.size) for subnet in drawn]
        inputs = {tuple(i.shape): i for i in (image, *images)}
        same = [inputs[tuple(i.shape)] for i in (image, *images)]
        with count_flops() as flops:
            shared(model, same, [None, *drawn])
        total += flops()
    mean = total / num_iterations / plain()
    assert predict_iteration_cost(model, image, sampler) == pytest.approx(
        mean, rel=0.06
    )


@pytest.mark.parametrize('strategy', ['ordered', 'stochastic', 'raw'])
def test_cost_without_sharing_is_the_mean_over_all(strategy):
    """To 1 %, by 2,000 draws; the expectation is written out."""
    model = build_classifier(double=False).backbone
    image = torch.rand(1, 3, 16, 16)
    depths = {} if strategy == 'raw' else dict(min_depth=2)
    sampler = SubnetSampler(2, strategy=strategy, sizes=(8, 16), **depths).fit(
        model
    )
    costs = [measure_cost(model, resize_inputs(image, n)) for n in (8, 16)]
    # The first block of a stage always runs, but in raw sampling, where each
    # runs in half of the subnets; the others share 1 or 2 places of 2.
    keep = dict(
        ordered=(1, 1, 1 / 2), stochastic=(1, 3 / 4, 3 / 4), raw=(1 / 2,) * 3
    )[strategy]
    mean = sum(
        cost.total
        - sum(
            flops * (1 - share)
            for stage in cost.blocks
            for flops, share in zip(stage, keep)
        )
        for cost in costs
    )
    mean /= 2 * costs[1].total
    apart = predict_iteration_cost(model, image, sampler, share=False)
    assert apart == pytest.approx(1 + 2 * mean, rel=0.01)
    assert predict_iteration_cost(model, image, sampler) < apart
    off = SubnetSampler(0).fit(model)
    assert predict_iteration_cost(model, image, off) == 1
