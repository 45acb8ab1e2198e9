"""Multiply-adds of attention, however PyTorch computes it."""

import pytest
import torch
import torchvision
from mmengine.registry import MODELS
from torch import nn
from torch.overrides import has_torch_function
from torch.utils.flop_counter import FlopCounterMode

from mmst.subnets import count_flops, measure_cost

SIZE, PATCH = 224, 16


def encoder_layer(tokens, width, mlp):
    """Multiply-adds of one, written out."""
    qkv = tokens * width * 3 * width
    queries_by_keys = tokens * tokens * width
    weights_by_values = tokens * tokens * width
    projection = tokens * width * width
    return (
        qkv
        + queries_by_keys
        + weights_by_values
        + projection
        + 2 * tokens * width * mlp
    )


def mmpretrain_vit():
    return MODELS.build(
        dict(type='mmpretrain.VisionTransformer', arch='deit-s')
    )


def timm_vit():
    timm = pytest.importorskip('timm')
    return timm.create_model('deit_small_patch16_224')


@pytest.mark.parametrize(
    'build, width, mlp, classes, billions',
    [
        (mmpretrain_vit, 384, 1536, 0, 4.598),
        (timm_vit, 384, 1536, 1000, 4.599),
        (torchvision.models.vit_b_16, 768, 3072, 1000, 17.564),
    ],
)
def test_vision_transformer(build, width, mlp, classes, billions):
    patches = (SIZE // PATCH) ** 2
    embedding = patches * 3 * PATCH * PATCH * width
    block = encoder_layer(patches + 1, width, mlp)
    cost = measure_cost(build(), torch.zeros(1, 3, SIZE, SIZE))
    assert cost.blocks == ((block,) * 12,)
    assert cost.total == embedding + 12 * block + classes * width
    assert cost.total / 1e9 == pytest.approx(billions, abs=5e-4)


@pytest.mark.parametrize('frozen', [False, True])
def test_encoder_layer_of_pytorch(frozen):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    layer.requires_grad_(not frozen)
    tokens, one = torch.rand(1, 5, 8), encoder_layer(5, 8, 16)
    with count_flops() as flops:
        with torch.no_grad():
            expected = layer(tokens)
        assert flops() == one
        torch.testing.assert_close(layer(tokens), expected)
    assert flops() == 2 * one
    layer(tokens)  # outside
    assert flops() == 2 * one


def test_backward_pass_of_attention():
    """Each product has the gradients of its two factors."""
    query, key, value = torch.rand(3, 1, 2, 5, 8, requires_grad=True)
    with count_flops() as flops:
        nn.functional.scaled_dot_product_attention(
            query, key, value
        ).sum().backward()
    products = 2 * (2 * 5 * 5 * 8)
    assert flops() == 3 * products


def settings():
    return (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        has_torch_function((torch.zeros(1),)),
        torch._C._len_torch_dispatch_stack(),
    )


def test_attention_is_as_it_was_afterwards():
    enable = torch.backends.cuda.enable_mem_efficient_sdp
    before = torch.backends.cuda.mem_efficient_sdp_enabled()
    enable(False)
    try:
        expected = settings()
        assert expected == (True, False, True, False, 0)
        with pytest.raises(ZeroDivisionError), count_flops():
            assert settings()[:4] == (False, False, True, True)
            raise ZeroDivisionError
        assert settings() == expected
    finally:
        enable(before)


def test_convolutions_count_as_pytorch_counts_them():
    model = torchvision.models.resnet18().eval()
    image = torch.zeros(1, 3, 64, 64)
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert 2 * measure_cost(model, image).total == counter.get_total_flops()
