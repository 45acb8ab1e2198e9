"""What a base's list loses by being replaced is told, if it can be known."""

import pytest
from mmengine.config import Config

from mmst.engine.replaced_lists import describe_replaced

BASE = """
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
custom_imports = dict(imports=['json'])
"""


@pytest.fixture
def read(tmp_path):
    def read(*files: str) -> Config:
        for i, text in enumerate(files):
            base = f"_base_ = './{i - 1}.py'\n" if i else ''
            (tmp_path / f'{i}.py').write_text(base + text)
        return Config.fromfile(str(tmp_path / f'{len(files) - 1}.py'))

    return read


def test_lost_and_kept(read, tmp_path):
    assert describe_replaced(read(BASE, 'x = 1')) == []
    assert describe_replaced(read(BASE)) == []
    assert describe_replaced(Config(dict(custom_hooks=[]))) == []
    changed = 'custom_hooks = [dict(_base_.custom_hooks[0], momentum=0.2)]'
    assert describe_replaced(read(BASE, changed)) == []
    hooks, imports = describe_replaced(
        read(BASE, "custom_hooks = []; custom_imports = dict(imports='mmst')")
    )
    assert hooks.startswith(
        f'custom_hooks does not have EMAHook of the base config '
        f'{tmp_path / "0.py"}, '
    )
    assert imports.startswith('custom_imports does not have json')


def test_of_bases_farther_up_once(read):
    (line,) = describe_replaced(read(BASE, 'y = 2', 'custom_hooks = []'))
    assert '1.py' in line and 'EMAHook' in line


def test_first_lines_of_the_log(tiny_runner, read):
    """As a warning."""
    runner = tiny_runner(sampler=dict(), max_epochs=1)
    runner.cfg = read(BASE, 'custom_hooks = []')
    warned = []
    runner.logger.warning = warned.append
    runner.call_hook('before_train')
    assert 'does not have EMAHook' in warned[0]
