"""Receptive fields of small convolutions against theory."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from mmpretrain.registry import MODELS
from torch import nn

from mmst.analysis.plots import choose_line_styles
from mmst.analysis.receptive_field import (
    SHARES,
    Field,
    choose_stage,
    draw_receptive_fields,
    find_field_centre,
    format_receptive_field_table,
    load_input_images,
    measure_receptive_field,
    measure_square_side,
)
from mmst.subnets import Block, Stage, activate, register_stage_finder
from tests.analysis.evaluation_by_hand import read
from tests.conftest import build_classifier


class Convolutions(nn.Sequential):
    """Convolutions without bias, each a residual block of one stage."""

    def __init__(self, *kernels, stride=1):
        super().__init__()
        for kernel in kernels:
            kernel = torch.as_tensor(kernel, dtype=torch.float64)
            size = kernel.shape[0]
            layer = nn.Conv2d(1, 1, size, stride, size // 2, bias=False)
            layer.weight = nn.Parameter(kernel[None, None])
            self.append(layer)


@pytest.fixture
def stage_of():
    """The one stage of Convolutions."""

    @register_stage_finder('Convolutions')
    def find(backbone):
        if isinstance(backbone, Convolutions):
            return [Stage('all', tuple(map(Block, backbone)))]
        return None

    return choose_stage


def images(size, number=3):
    return torch.randn(number, 1, size, size).double()


@pytest.mark.parametrize('stride', [1, 2])
def test_known_weights(stage_of, stride):
    """The kernels' convolution, its second kernel spread by the stride.

    13 pixels end as 13, or as 4 units: the one in the middle is number 6, or
    number 2, which lies at pixel 8.
    """
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3, 3))
    net = Convolutions(first, second, stride=stride)
    field = measure_receptive_field(net, images(13), stage_of(net))
    expected = np.zeros((13 + 8, 13 + 8))
    pixel = 4 + (6 if stride == 1 else 8)
    for (i, j), weight in np.ndenumerate(second):
        y, x = pixel + stride * (i - 1), pixel + stride * (j - 1)
        expected[y - 1 : y + 2, x - 1 : x + 2] += weight * first
    np.testing.assert_allclose(field, np.abs(expected)[4:-4, 4:-4], atol=1e-12)


def test_absolute_values_are_averaged_over_images(stage_of):
    """With a ReLU between, images differ and signs must not cancel."""
    net = Convolutions([[1.0]], [[-2.0]])
    net[0].register_forward_hook(lambda module, args, out: out.abs())
    data = torch.tensor([-1.0, 1.0, 3.0]).double().view(3, 1, 1, 1)
    data = data.expand(3, 1, 5, 5)
    field = measure_receptive_field(net, data, stage_of(net))
    assert field[2, 2] == 2 and field.sum() == 2


def test_model_is_left_as_it_was():
    model = build_classifier()
    before = deepcopy(model.state_dict())
    field = measure_receptive_field(
        model, torch.randn(9, 3, 16, 16).double(), choose_stage(model)
    )
    assert field.shape == (16, 16) and (field > 0).any()
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in model.parameters())


ARCH = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16)
VIT = dict(type='VisionTransformer', arch=ARCH, patch_size=8)
SWIN = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=4, depths=[2, 2], num_heads=[1, 2]),
    window_size=4,
    out_indices=(1,),
)


@pytest.mark.parametrize('config', [VIT, SWIN], ids=['ViT', 'Swin'])
def test_tokens(config):
    """Without attention, the middle token sees the middle patch alone."""
    net = MODELS.build(dict(config, img_size=32))
    net.init_weights()
    stage = choose_stage(net)
    attentions = [m for m in net.modules() if hasattr(m, 'attn')]
    assert attentions
    for block in attentions:
        block.attn.forward = lambda x, *args, **kwargs: torch.zeros_like(x)
    field = measure_receptive_field(net, torch.randn(2, 3, 32, 32), stage)
    middle = field[16:24, 16:24]
    assert (middle > 0).all() and field.sum() == pytest.approx(middle.sum())


def test_concatenated_features_are_seen_whole():
    """A dense stage gives its input as well, also where layers are skipped."""
    arch = dict(growth_rate=4, depths=[2, 2], init_channels=4)
    net = MODELS.build(dict(type='DenseNet', arch=arch))
    stage = choose_stage(net, 'stages.0')
    data = torch.randn(2, 3, 64, 64)
    full = measure_receptive_field(net, data, stage)
    with activate(net, (1, 1)):
        small = measure_receptive_field(net, data, stage)
    assert 0 < (small > 0).sum() < (full > 0).sum()


def test_squares():
    field = np.zeros((6, 8))
    field[1, 2] = 5
    assert find_field_centre(field) == (1, 2)
    assert measure_square_side(field, 0.99) == 1
    field[1, 7] = 1
    assert measure_square_side(field, 5 / 6) == 1
    # To pixel 7 from pixel 2 takes a side of 11, of which 8 are there.
    assert measure_square_side(field, 0.9) == 11
    whole = Field('CT', 'main', 8, field)
    assert whole.sides == {0.2: 1, 0.3: 1, 0.5: 1, 0.99: 8}
    # It is drawn around its centre, and cut; the title has what there is.
    figure = draw_receptive_fields([whole])
    axes = figure.axes[0]
    square = axes.patches[3]
    assert (square.get_x(), square.get_width()) == (2 - 5.5, 11)
    assert (square.get_y(), square.get_height()) == (1 - 5.5, 11)
    assert square.get_clip_on()
    figure.draw_without_rendering()
    assert axes.get_xlim() == (-0.5, 7.5) and axes.get_ylim() == (5.5, -0.5)
    assert axes.get_title().endswith('sides: 1 / 1 / 1 / 8 px')


def test_what_cannot_be_measured(stage_of):
    net = Convolutions(np.ones((3, 3)))
    with pytest.raises(ValueError, match='no images'):
        measure_receptive_field(net, images(9, 0), stage_of(net))
    with pytest.raises(ValueError, match=r"stage 'x' is not .*\['all'\]"):
        stage_of(net, 'x')
    net = Convolutions(np.ones((3, 3)))
    net[0].padding = 0
    with pytest.raises(ValueError, match='2 x 2 px'):
        measure_receptive_field(net, images(2), stage_of(net))


def test_images_of_the_validation(load):
    runner = load(
        model__data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3)
    )
    pixels, _ = read(runner.val_dataloader.dataset)
    pixels = (pixels.float() - 127.5) / 64
    torch.testing.assert_close(load_input_images(runner, 32, 3), pixels[:3])
    small = nn.functional.interpolate(
        pixels, (8, 8), mode='bilinear', align_corners=False
    )
    torch.testing.assert_close(load_input_images(runner, 8, 50), small)


#: Squares of 9, 7, 5 and 3 px.
NETWORKS = [('main', 15), ('main', 11), ('1-1', 15), ('1-1', 11)]
FIELDS = [
    Field('CT', name, size, np.pad(np.ones((side, side)), (size - side) // 2))
    for (name, size), side in zip(NETWORKS, (9, 7, 5, 3))
]


def test_table():
    head, *rows = format_receptive_field_table(FIELDS).splitlines()
    assert head.split() == ['network', 'input', '20%', '30%', '50%', '99%']
    # A share s of 9 x 9 equal pixels needs a side of 9 sqrt(s).
    assert rows[0].split('  ')[-1].strip() == '9 px'
    assert [field.sides[0.99] for field in FIELDS] == [9, 7, 5, 3]
    assert FIELDS[0].sides == {0.2: 5, 0.3: 5, 0.5: 7, 0.99: 9}
    assert len(rows) == 4 and SHARES == tuple(FIELDS[0].sides)


def test_picture():
    """Squares have the run's colour, as its lines in other pictures."""
    figure = draw_receptive_fields([*FIELDS, FIELDS[0]._replace(run='ST++')])
    *panels, colorbar = figure.axes
    assert [axes.get_title().split(';')[0] for axes in panels] == [
        *(f'CT: {network}\n{size} px' for network, size in NETWORKS),
        'ST++: main\n15 px',
    ]
    for axes, run in zip(panels, ['CT'] * 4 + ['ST++']):
        color = choose_line_styles([run])[run]['color']
        for square in axes.patches:
            assert to_hex(square.get_edgecolor(), True)[:7] == color.lower()
            assert square.get_path_effects()  # white around, for dark maps
    assert colorbar.get_ylabel() == 'contribution, relative to the largest'


@pytest.mark.parametrize(
    'num_networks, num_sizes, columns',
    [(1, 1, 1), (2, 1, 2), (6, 1, 3), (2, 3, 3), (4, 2, 4), (8, 2, 6)],
)
def test_panels_suit_a_screen(num_networks, num_sizes, columns):
    """Row by row, those of a network in one of them."""
    figure = draw_receptive_fields(
        [
            Field('CT', f'{network}', size, np.ones((5, 5)))
            for network in range(num_networks)
            for size in range(1, num_sizes + 1)
        ]
    )
    places = [axes.get_subplotspec() for axes in figure.axes[:-1]]
    places = [(p.rowspan.start, p.colspan.start) for p in places]
    number = num_networks * num_sizes
    assert places == [divmod(k, columns) for k in range(number)]
    width, height = figure.get_size_inches()
    assert width < 16 * height / 5 and columns % num_sizes == 0
