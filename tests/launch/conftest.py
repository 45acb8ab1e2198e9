"""The trained network to write to."""

from tests.tools.conftest import work_dir  # noqa: F401
