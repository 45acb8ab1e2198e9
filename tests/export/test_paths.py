"""An export is read from wherever it lies."""

import shutil

from mmengine.config import Config

from mmst.export.standalone_config import build_from
from tests.conftest import classifier
from tests.export.conftest import export


def test_any_path_that_the_file_system_allows(make_runner, tmp_path):
    name = "l'été d'Anna \" ''' \\1 {{x}} #%"
    runner = make_runner(classifier())
    out = tmp_path / name / 'sub'
    export(runner, out, (1, 2, 1), name='sub')
    moved = tmp_path / 'copy' / name
    shutil.move(str(out), str(moved))
    cfg = Config.fromfile(str(moved / 'sub.py'))
    assert cfg.load_from == str(moved / 'sub.pth')
    # Nothing is left of what the file computes with.
    assert not {'inspect', 'os', 'sys', '_folder'} & cfg.keys()
    assert [
        len(layer)
        for layer in build_from(moved, 'sub').backbone.children()
        if hasattr(layer, '__len__')
    ][:3] == [1, 2, 1]
    (tmp_path / 'child.py').write_text(
        f'_base_ = [{str(moved / "sub.py")!r}]\n'
    )
    child = Config.fromfile(str(tmp_path / 'child.py'))
    assert child.load_from == str(moved / 'sub.pth')
