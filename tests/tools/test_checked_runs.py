"""What would fail after hours of measuring is refused before."""

import pytest

TOOLS = {
    'loafing': ('config', 'checkpoint'),
    'logit_amplitude': ('config', 'checkpoint'),
    'receptive_field': ('config', 'checkpoint'),
    'cost': ('work_dir',),
}


@pytest.fixture
def runs(tmp_path):
    """Arguments for runs of some names; what they name is there, but empty."""

    def runs(tool, *names, without=None):
        arguments = []
        for name in names:
            paths = [tmp_path / f'{name}_{kind}' for kind in TOOLS[tool]]
            for path in paths:
                if path.name != without:
                    path.touch()
            arguments += ['--run', name, *paths]
        return arguments

    return runs


@pytest.mark.parametrize(
    'tool', ['logit_amplitude', 'receptive_field', 'cost']
)
def test_results_are_kept_by_name(refuse, runs, tmp_path, tool):
    message = "two runs are named 'a': choose different names"
    given = runs(tool, 'a', 'b', 'a')
    refuse(tool, tmp_path / 'out', ValueError, message, *given)


@pytest.mark.parametrize('tool', TOOLS)
def test_names_that_legends_leave_out(refuse, runs, tmp_path, tool):
    message = "a run is named '_b': legends leave out"
    given = runs(tool, 'a', '_b')
    refuse(tool, tmp_path / 'out', ValueError, message, *given)


@pytest.mark.parametrize('tool', TOOLS)
def test_paths_that_are_not_there(refuse, runs, tmp_path, tool):
    for kind in TOOLS[tool]:
        given = runs(tool, 'a', f'b{kind}', without=f'b{kind}_{kind}')
        message = f"b{kind}_{kind} of run 'b{kind}' does not exist"
        refuse(tool, tmp_path / 'out', FileNotFoundError, message, *given)


def test_networks_alone_are_checked_too(refuse, runs, tmp_path):
    given = [*runs('loafing', 'a'), '--alone', 'b', 'no.py', 'no.pth']
    message = "no.py of run 'b' does not exist"
    refuse('loafing', tmp_path / 'out', FileNotFoundError, message, *given)
