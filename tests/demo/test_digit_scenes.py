"""Writing the small data for dense tasks: seeded, whole, once."""

import numpy as np
import pytest
from PIL import Image

from .conftest import files_of


def test_no_digit_is_in_two_splits(digit_scenes_tool, load_tool):
    sources = digit_scenes_tool.load_split_sources(3)
    train, val = (
        {digit.tobytes() for digit in sources[split].digits}
        for split in ('train', 'val')
    )
    assert len(train) == 4000 and len(val) == 1000 and not train & val
    mnistm5k = load_tool('demo/dataset_converters/mnistm5k')
    digits, labels, _ = digit_scenes_tool.load_sources()
    rows = mnistm5k.split_rows(labels, 3)['val']
    assert val == {digit.tobytes() for digit in digits[rows]}
    assert np.array_equal(sources['val'].labels, labels[rows])


def test_same_seed_same_bytes(digit_scenes_tool, digit_scenes, tmp_path):
    for name, seed, num_train in (('a', 0, 1), ('b', 0, 1), ('c', 1, 1)):
        assert digit_scenes_tool.write_digit_scenes(
            tmp_path / name, seed, num_train, 2
        )
    first, second, other = (files_of(tmp_path / name) for name in 'abc')
    assert first == second and first.keys() == other.keys()
    whole = files_of(digit_scenes)
    for name in first:
        if not name.endswith('json'):
            assert first[name] != other[name]
            assert first[name] == whole[name]  # whatever is written besides
    image = 'cityscapes/leftImg8bit/val/digits/digits_000001_000000' + (
        '_leftImg8bit.png'
    )
    pixels, others = (
        np.asarray(Image.open(tmp_path / name / image)) for name in 'ac'
    )
    assert (pixels == others).mean() < 0.2  # not only other digits


@pytest.mark.parametrize('option', ['--seed', '--num-train', '--num-val'])
def test_numbers_too_small(digit_scenes_tool, tmp_path, option):
    with pytest.raises(ValueError, match=f'{option} -1: must'):
        digit_scenes_tool.main(['--out', str(tmp_path / 'x'), option, '-1'])
    assert not any(tmp_path.iterdir())
