"""What ``demo/downstream.py`` reads from its runs."""

from pathlib import Path

import pytest

from tests.analysis.evaluation_by_hand import VALIDATION
from tests.conftest import logged


def test_score_is_that_of_the_end(load_tool, tiny_runner):
    """Not that of an earlier validation, if the last one is missing."""
    read_last_metric = load_tool('demo/downstream').read_last_metric
    runner = tiny_runner(sampler=dict(num_subnets=1), **VALIDATION)
    runner.train()
    folder = Path(runner.work_dir)
    metric = 'accuracy/top1'
    *_, score = (line[metric] for line in logged(folder) if metric in line)
    assert read_last_metric(folder, metric) == score
    (file,) = folder.glob('*/vis_data/scalars.json')
    *lines, last = file.read_text().splitlines(keepends=True)
    assert metric in last and metric in ''.join(lines)
    file.write_text(''.join(lines))
    with pytest.raises(ValueError, match=f'no {metric} at its end: .*delete'):
        read_last_metric(folder, metric)
