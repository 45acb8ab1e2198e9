"""Results are kept by name: no two are to have the same."""

import pytest


@pytest.mark.parametrize(
    'tool, what, arguments',
    [
        ('receptive_field', 'runs', ['--run', 'a', 'no.py', 'no.pth']),
        ('logit_amplitude', 'runs', ['--run', 'a', 'no.py', 'no.pth']),
        ('cost', 'runs', ['--run', 'a', 'nowhere']),
        ('stage_layout', 'configs', ['folder/a.py']),
    ],
)
def test_refused_before_anything_is_read(
    refuse, tmp_path, tool, what, arguments
):
    """The files are not there, which would be the next error."""
    message = f"two {what} are named 'a': give each another name"
    twice = [*arguments, *arguments]
    refuse(tool, tmp_path / 'out', ValueError, message, *twice)
