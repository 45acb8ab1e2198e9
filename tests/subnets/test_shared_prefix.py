"""Contract 11 for every family: shared prefixes against passes apart."""

import copy

import pytest
import torch

from mmst.subnets import find_stages
from tests.subnets.hand_cut_densenet import (
    mmpretrain_densenet,
    timm_densenet,
    torchvision_densenet,
)
from tests.subnets.passes_apart import (
    apart,
    assert_equal,
    count_calls,
    num_distinct,
    shared,
    some_passes,
    train_without_chance,
)
from tests.subnets.test_families import NETWORKS, build, rows


@rows(NETWORKS)
def test_families(name, options, size, blocks):
    """As apart; each distinct prefix is run once."""
    model = train_without_chance(build(name, options))
    check_passes(model, *torch.rand(2, 2, 3, size, size).double())
    assert not any('forward' in vars(m) for m in model.modules())


def check_passes(model, *images, **options):
    """Two groups of passes, with the main network and without it."""
    other = copy.deepcopy(model)
    stages = find_stages(model)
    subnets, images = some_passes(stages, images, **options)
    expected = apart(other, images, subnets)
    counts = count_calls([b.module for stage in stages for b in stage.blocks])
    own = {module: module.forward for module in counts}

    losses = shared(model, images, subnets)

    assert_equal(model, other, losses, expected)
    assert sum(counts.values()) == num_distinct(stages, subnets, images)
    for module, forward in own.items():
        assert vars(module).pop('forward') is forward


DENSENETS = pytest.mark.parametrize(
    'build', [mmpretrain_densenet, torchvision_densenet, timm_densenet]
)


def features_of(model):
    """The part whose call gives all: mmpretrain's classifiers need a mode."""
    if not hasattr(model, 'backbone'):
        return model
    model.backbone.out_indices = (0, 1, 2)
    return model.backbone


@pytest.mark.filterwarnings('ignore:.*use_reentrant')
@pytest.mark.parametrize('efficient', [False, True])
@DENSENETS
def test_densenet(build, efficient):
    """Blocks that read features of earlier ones, checkpointed or not."""
    model = features_of(build(memory_efficient=efficient))
    model.train()
    images = torch.rand(2, 3, 3, 32, 32).double()
    check_passes(model, *images, strategies=('ordered', 'stochastic'))
