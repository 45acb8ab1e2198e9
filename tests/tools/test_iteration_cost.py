"""The benchmark of the ST iteration counts what it says it counts."""

from argparse import Namespace

import pytest
import torch

from mmst.subnets import Subnet
from tests.conftest import ROOT, build_classifier

FULL = (3, 3, 3)


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('tools/benchmarks/iteration_cost')


def test_flops_of_a_skipped_block(tool):
    """Three times its forward pass: gradients of inputs and of weights."""
    model = build_classifier(double=False)
    image = torch.rand(1, 3, 16, 16)
    full = tool.count_pass_flops(model, image)
    subnet = Subnet.ordered((3, 2, 3), FULL)
    # Two convolutions, 3 x 3, 8 to 8 channels, on the second stage's map.
    side = 16 // 2
    block = 2 * 9 * 8 * 8 * side * side
    assert full - tool.count_pass_flops(model, image, subnet) == 3 * block
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    'config, scope, no_heads',
    [
        ('st_cifar/resnet56_st_cifar10.py', 'mmpretrain', False),
        ('st_det/mask-rcnn_r50-st-star_fpn_1x_coco.py', 'mmdet', True),
    ],
)
def test_a_case(tool, config, scope, no_heads):
    pytest.importorskip(scope)
    result = tool.run_case(
        Namespace(
            config=str(ROOT / 'configs' / config),
            batch_size=2,
            size=[64, 64],
            iterations=1,
            channels_last=False,
            same_size=True,
            no_heads=no_heads,
            case=1,
        )
    )
    # At the main input's size, perhaps with some blocks left out.
    assert 1 < result['predicted'] <= 2
    assert result['seconds'] > 0 and result['memory'] > 0
