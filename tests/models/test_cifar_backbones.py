"""Networks of any depth that their form has."""

import pytest
import torch

from mmst.models import CIFARDenseNet, CIFARResNet

IMAGES = torch.zeros(2, 3, 16, 16)


@pytest.mark.parametrize('depth', [8, 14, 20, 26])
def test_a_resnet_has_as_many_layers_as_it_says(depth):
    """Convolutions on the way to the output, and the classifier."""
    backbone = CIFARResNet(depth)
    layers = [
        name
        for name, _ in backbone.named_modules()
        if 'conv' in name.rsplit('.', 1)[-1]
    ]
    assert len(layers) + 1 == depth
    (features,) = backbone(IMAGES)
    assert features.shape == (2, 64, 4, 4)


@pytest.mark.parametrize(
    'network, depth, form',
    [
        (CIFARResNet, 2, '6n [+] 2'),
        (CIFARResNet, 18, '6n [+] 2'),
        (CIFARDenseNet, 4, '6n [+] 4'),
        (CIFARDenseNet, 20, '6n [+] 4'),
    ],
)
def test_another_depth_is_refused(network, depth, form):
    with pytest.raises(
        ValueError, match=f'{network.__name__}.*{depth}.*{form}'
    ):
        network(depth)
