"""Networks of any depth that their form has."""

import pytest
import torch

from mmst.models import CIFARResNet


@pytest.mark.parametrize('depth', [8, 14, 20, 26])
def test_a_resnet_has_as_many_layers_as_it_says(depth):
    """Convolutions on the way to the output, and the classifier."""
    backbone = CIFARResNet(depth)
    names = [name.split('.')[-1] for name, _ in backbone.named_modules()]
    assert sum('conv' in name for name in names) + 1 == depth
    (features,) = backbone(torch.zeros(2, 3, 16, 16))
    assert features.shape == (2, 64, 4, 4)
