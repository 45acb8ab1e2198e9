"""A run that was trained."""

from tests.analysis.conftest import trained  # noqa: F401
