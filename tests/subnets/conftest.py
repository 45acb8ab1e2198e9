"""Families that a test registers are gone after it."""

import pytest

from mmst.subnets.stages import _FINDERS


@pytest.fixture(autouse=True)
def nothing_is_registered(monkeypatch):
    monkeypatch.setattr('mmst.subnets.stages._FINDERS', dict(_FINDERS))
