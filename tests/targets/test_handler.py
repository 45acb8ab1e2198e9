"""Samples are resized by the handler of their type."""

import pytest
from torch import nn

from mmst.targets import (
    Resizing,
    SampleHandler,
    register_handler,
    resize_samples,
)
from mmst.targets.handler import _HANDLERS

RESIZING = Resizing((8, 12), (4, 7), (8, 8), 8, nn.Module())


class Sample:
    pass


class Derived(Sample):
    pass


@pytest.fixture(autouse=True)
def resizer(monkeypatch):
    monkeypatch.setattr('mmst.targets.handler._HANDLERS', dict(_HANDLERS))

    @register_handler(f'{__name__}.Sample')
    class Samples(SampleHandler):
        def resize(self, *args):
            return args


def test_subclasses_are_resized_as_their_base():
    samples = [Sample(), Derived()]
    assert resize_samples(samples, RESIZING) == [
        (sample, RESIZING) for sample in samples
    ]


def test_nothing_to_resize():
    assert resize_samples(None, RESIZING) is None


def test_unknown_type():
    with pytest.raises(
        TypeError,
        match='builtins.int has no handler. Known: '
        '.*DataSample, .*Sample. Set neither .*register_han',
    ):
        resize_samples([7], RESIZING)


def test_scale_and_shapes():
    assert RESIZING.scale == (4 / 8, 7 / 12)
    assert RESIZING.resize_shape((6, 9)) == (3, 5)
    assert RESIZING.resize_shape((1, 1)) == (1, 1)
    assert RESIZING.update_scale_factor((2.0, 3.0)) == (2.0 * 7 / 12, 3.0 / 2)
