"""Data sets are written whole or not at all, and never over another."""

import shutil

import pytest

from .conftest import files_of


@pytest.fixture
def write(load_tool, tmp_path):
    """Write two files, or stop before the last."""
    tool = load_tool('demo/dataset_converters/write_once')

    def write(seed: int = 0, stop: bool = False) -> bool:
        def write_files(folder) -> None:
            (folder / 'a.txt').touch()
            if stop:
                raise KeyboardInterrupt
            (folder / 'b.txt').touch()

        out, manifest = tmp_path / 'data', dict(dataset='some', seed=seed)
        return tool.write_once(out, manifest, {'*.txt': 2}, write_files)

    return write


def test_interrupted_write_is_redone(write, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(stop=True)
    assert not (tmp_path / 'data').exists()
    assert write()
    assert [path.name for path in tmp_path.iterdir()] == ['data']
    assert len(files_of(tmp_path / 'data')) == 3


def test_folders_that_are_there_are_not_touched(write, tmp_path):
    write()
    (tmp_path / 'data/b.txt').write_text('mine')
    assert not write()
    with pytest.raises(ValueError, match='seed 1.*"?seed.*0'):
        write(seed=1)
    (tmp_path / 'data/manifest.json').unlink()
    with pytest.raises(ValueError, match='choose another folder'):
        write()
    assert files_of(tmp_path / 'data') == {'a.txt': b'', 'b.txt': b'mine'}


def test_every_part_of_the_scenes_is_missed(digit_scenes_tool, tmp_path):
    out, write = tmp_path / 'data', digit_scenes_tool.write_digit_scenes
    write(out, 0, 1, 1)
    before = files_of(out)
    for lost in (
        'coco/val2017',
        'coco/annotations/panoptic_train2017.json',
        'coco/annotations/panoptic_train2017',
        'cityscapes/gtFine',
        'cityscapes/leftImg8bit/train',
    ):
        path = out / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert write(out, 0, 1, 1), lost
        assert files_of(out) == before
    assert not write(out, 0, 1, 1)
    for wanted in ((1, 1, 1), (0, 2, 1), (0, 1, 2)):
        with pytest.raises(ValueError, match='choose another folder'):
            write(out, *wanted)
