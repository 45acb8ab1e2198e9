"""The analysis tools."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import run_alone


@pytest.fixture
def analyse(load_tool, capsys):
    """Run an analysis tool, and give the numbers that it wrote as JSON.

    The picture fits a screen. The table, which it prints last, is kept as
    ``analyse.table``.
    """

    def analyse(tool: str, out: Path, *args) -> dict:
        capsys.readouterr()
        main = load_tool(f'tools/analysis_tools/{tool}').main
        run_alone(main)([*args, '--out', out])
        printed, told = capsys.readouterr()
        files, analyse.table = printed.split('\n', 1)
        assert files == f'Written to {out}/{tool}.json and {out}/{tool}.png'
        assert 'train_dataloader' not in told  # the config
        with Image.open(out / f'{tool}.png') as image:
            assert image.format == 'PNG'
            assert len(image.getcolors(2**24)) > 10
            assert image.width <= 1600 and image.height <= 900
        return json.loads((out / f'{tool}.json').read_text())

    return analyse


@pytest.fixture
def refuse(load_tool):
    """Run an analysis tool that fails, and see that it leaves no results."""

    def refuse(tool: str, out: Path, error: type, message: str, *args) -> None:
        main = load_tool(f'tools/analysis_tools/{tool}').main
        with pytest.raises(error, match=message):
            run_alone(main)([*args, '--out', out])
        assert not list(out.glob('*.png')) and not list(out.glob('*.json'))

    return refuse
