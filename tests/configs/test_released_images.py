"""The as-released configs against the released pipeline, in PIL.

The same photograph and the same draws; images are compared to the bit.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageOps
from sklearn.datasets import load_sample_image
from torchvision.transforms import CenterCrop, Resize
from torchvision.transforms import functional as F

from tests.conftest import ROOT

#: A1's images too: test_configs.py has that A2 adds uniform augment alone.
A2 = 'resnet50_st-ua-as-released'
BOX = (20, 31, 350, 402)  # top, left, height, width
FACTORS = dict(brightness=1.31, contrast=0.72, saturation=1.24)
ORDER = (2, 0, 3, 1)  # saturation, brightness, hue (none), contrast
ALPHA = np.array([0.01, -0.3, 0.1])
# Lighting for R, G, B in 0 to 1, as AlexNet's authors give it.
VALUES = np.array([0.2175, 0.0188, 0.0045])
VECTORS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


@pytest.fixture
def photograph(tmp_path):
    """A JPEG that is to be turned, as cameras write it; PIL does not."""
    file = tmp_path / 'photograph.jpg'
    image = Image.fromarray(load_sample_image('china.jpg'))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(file, exif=exif)
    return file


def pipeline(name, split):
    cfg = Config.fromfile(ROOT / f'configs/st/{name}_in1k.py')
    *steps, packing = cfg[f'{split}_dataloader'].dataset.pipeline
    assert packing.type == 'PackInputs'
    return [TRANSFORMS.build(step) for step in steps]


def run(steps, file):
    results = dict(img_path=str(file))
    for step in steps:
        results = step(results)
    return results['img'][..., ::-1]  # mmpretrain's images are BGR


def released_a1(file):
    image = Image.open(file).convert('RGB')
    image = F.resized_crop(image, *BOX, (200, 200))
    image = F.hflip(image)
    for kind in ('saturation', 'brightness', 'contrast'):
        image = getattr(F, f'adjust_{kind}')(image, FACTORS[kind])
    lit = np.asarray(image) + VECTORS @ (ALPHA * VALUES)
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8))


@pytest.fixture
def fixed_draws(monkeypatch):
    """Let the pipeline's steps draw what the reference has."""

    def fix(steps):
        by_name = SimpleNamespace(**{type(s).__name__: s for s in steps})
        jitter = (ORDER, *FACTORS.values(), None)
        for step, method, value in (
            (by_name.RandomResizedCrop, 'rand_crop_params', BOX),
            (by_name.RandomFlip, '_choose_direction', 'horizontal'),
            (by_name.ColorJitter, '_rand_params', jitter),
        ):
            monkeypatch.setattr(step, method, lambda *a, value=value: value)
        monkeypatch.setattr(
            np.random, 'normal', lambda mean, std, size: ALPHA * (std / 0.1)
        )
        return by_name

    return fix


def test_lighting_of_the_paper(photograph, fixed_draws):
    """255 times as strong; floats are not cut off at black and white."""
    steps = pipeline('resnet50_st', 'train')
    fixed_draws(steps)
    before, after = run(steps[:-1], photograph), run(steps, photograph)
    assert after.dtype == np.float32
    expected = before / 255 + VECTORS @ (ALPHA * VALUES)
    np.testing.assert_allclose(after / 255, expected, atol=1e-5)


def test_images_for_testing(photograph):
    image = Image.open(photograph).convert('RGB')
    theirs = CenterCrop(224)(Resize(240)(image))
    np.testing.assert_array_equal(
        run(pipeline(A2, 'test'), photograph), np.asarray(theirs)
    )


def affine(*matrix):
    return lambda image: image.transform(image.size, Image.AFFINE, matrix)


def enhance(kind):
    return lambda image: getattr(ImageEnhance, kind)(image).enhance(0.55)


# Operation, direction; the part of the magnitude's range that is drawn, and
# the same in PIL; the share of values that may differ, and by how many levels.
OPERATIONS = [
    ('AutoContrast', '', None, ImageOps.autocontrast, 0, 0),
    ('Equalize', '', None, ImageOps.equalize, 0, 0),
    ('Solarize', '', 0.3, lambda i: ImageOps.solarize(i, 0.7 * 256), 0, 0),
    ('Posterize', '', 0.99, lambda i: ImageOps.posterize(i, 4), 0, 0),
    ('Posterize', '', 0.0, lambda i: ImageOps.posterize(i, 7), 0, 0),
    ('Contrast', '', 0.5, enhance('Contrast'), 0, 0),
    ('Brightness', '', 0.5, enhance('Brightness'), 0, 0),
    ('Translate', 'horizontal', 0.73, affine(1, 0, 7.3, 0, 1, 0), 0, 0),
    ('Translate', 'vertical', 0.36, affine(1, 0, 0, 0, 1, 3.6), 0, 0),
    # OpenCV rounds otherwise than PIL.
    ('ColorTransform', '', 0.5, enhance('Color'), 0.5, 1),
    # PIL leaves the border as it is.
    ('Sharpness', '', 0.5, enhance('Sharpness'), 0.02, 255),
    # Which pixel is the nearest.
    ('Rotate', '', 0.5, lambda i: i.rotate(15), 0.01, 255),
    ('Shear', 'horizontal', 0.5, affine(1, 0.15, 0, 0, 1, 0), 0.1, 255),
    ('Shear', 'vertical', 0.5, affine(1, 0, 0, 0.15, 1, 0), 0.1, 255),
]


@pytest.mark.parametrize(
    'row', OPERATIONS, ids=lambda row: f'{row[0]} {row[1]} {row[2]}'
)
def test_training_images_of_a2(photograph, fixed_draws, monkeypatch, row):
    """Uniform augment comes last: here an operation, then the identity."""
    kind, direction, part, in_pil, share, levels = row
    steps = pipeline(A2, 'train')
    augment = fixed_draws(steps).RandAugment
    identity, *_ = augment.transforms
    drawn = next(
        i
        for i, t in enumerate(augment.transforms)
        if (type(t).__name__, getattr(t, 'direction', '')) == (kind, direction)
        and t is not identity
    )
    monkeypatch.setattr(augment, 'random_policy_indices', lambda: [drawn, 0])
    # Applied, at this part of the range, which has the sign turned where an
    # operation has one.
    monkeypatch.setattr(np.random, 'rand', lambda: 0.25)
    monkeypatch.setattr(np.random, 'uniform', lambda low, high: part * high)
    ours = run(steps, photograph)
    assert ours.dtype == np.uint8
    theirs = np.asarray(in_pil(released_a1(photograph)))
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= levels
    assert (difference > 0).mean() <= share
    assert not np.array_equal(theirs, np.asarray(released_a1(photograph)))
