"""Scenes and puppets: what the small data for dense tasks is drawn from."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('demo/dataset_converters/scene')


@pytest.fixture(scope='module')
def puppet(load_tool):
    return load_tool('demo/dataset_converters/puppet')


@pytest.fixture
def scene(tool):
    """Grey, 40 wide and 30 high."""
    scene = tool.Scene(40, 30)
    scene.fill('ground', np.ones((30, 40), bool), np.full((30, 40, 3), 90.0))
    return scene


def tile(width: int, height: int, opacity: int = 255) -> Image.Image:
    return Image.new('RGBA', (width, height), (200, 0, 0, opacity))


def test_paste(scene):
    assert scene.paste('a', tile(10, 8), (5, 20))
    assert scene.paste('b', tile(3, 3), (14, 27))
    assert scene.paste('c', tile(4, 4, 127), (0, 0))
    expected = np.ones((30, 40), int)
    expected[20:28, 5:15] = 2
    expected[27:30, 14:17] = 3
    expected[:4, :4] = 0  # soft rims are nobody's
    assert np.array_equal(scene.owners, expected)
    assert scene.kinds == {1: 'ground', 2: 'a', 3: 'b', 4: 'c'}
    assert (scene.image[expected > 1] == (200, 0, 0)).all()
    assert (scene.image[expected == 1] == 90).all()
    assert np.allclose(scene.image[0, 0, 0], 90 + 110 * 127 / 255)


@pytest.mark.parametrize(
    'corner, fits',
    [
        ((0, 0), True),
        ((-3, 0), True),
        ((-4, 0), False),  # 7 and 6 of 10 columns in the image
        ((33, 0), True),
        ((34, 0), False),
        ((20, 13), True),
        ((20, 14), False),
    ],
)  # and of the rows of the first
def test_enough_stays_in_view(scene, corner, fits):
    assert scene.paste('first', tile(10, 10), (20, 20))
    before = scene.owners.copy(), scene.image.copy()
    assert scene.paste('second', tile(10, 10), corner) is fits
    assert (len(scene.kinds) == 3) is fits
    if not fits:
        assert np.array_equal(scene.owners, before[0])
        assert np.array_equal(scene.image, before[1])


def test_keypoints(scene):
    points = np.array([[-1.0, 2], [0, 0], [9, 9], [5, 5.4], [2, 11]])
    assert scene.paste('a', tile(10, 10), (0, 19), points)
    assert scene.paste('b', tile(3, 3), (4, 23))
    assert scene.get_keypoints(2).tolist() == [
        [0, 0, 0],
        [0, 19, 2],
        [9, 28, 2],
        [5, 24.4, 1],
        [0, 0, 0],
    ]


def test_digits_stand_out(tool):
    stencil = Image.new('L', (10, 20), 255)
    for shade in (0, 128, 255):
        ground = np.full((40, 40, 3), float(shade))
        tiles = [
            tool.colour_digit(
                stencil, ground, (-3, 30), np.random.default_rng(seed)
            )
            for seed in range(30)
        ]
        colours = np.array([np.asarray(each)[0, 0, :3] for each in tiles], int)
        assert np.ptp(colours, axis=0).min() > 60
        assert np.abs(colours - shade).sum(axis=1).min() > 120


def test_digits_keep_their_shape(tool):
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 10:15] = 255  # 20 x 5
    for seed in range(5):
        shape = tool.shape_digit(digit, 40, np.random.default_rng(seed))
        assert shape.height == 40 and 8 <= shape.width <= 20
        assert np.asarray(shape).max() == 255


def test_puppet_keypoints_are_where_they_are_drawn(puppet):
    assert len(puppet.KEYPOINTS) == 17
    for seed in range(10):
        image, points = puppet.draw_puppet(150, np.random.default_rng(seed))
        pixels = np.asarray(image, float)
        for side in range(4):
            assert (np.rot90(pixels, side)[0, :, 3] == 0).all()
        columns, rows = points.round().astype(int).T
        assert (pixels[rows, columns, 3] == 255).all()
        for x, y in points[1:3]:  # the eyes: the darkest spot about is there
            left, top = int(x) - 3, int(y) - 3
            patch = 255 - pixels[top : top + 8, left : left + 8, :3].mean(-1)
            weights = np.where(patch > 150, patch, 0)
            yy, xx = np.mgrid[top : top + 8, left : left + 8]
            middle = ((xx * weights).sum(), (yy * weights).sum())
            assert np.abs(middle / weights.sum() - (x, y)).max() < 0.35
