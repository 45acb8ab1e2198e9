"""Samples are resized by the function that their type has."""
import pytest

from mmst.subnets import register_resizer, resize_samples
from mmst.subnets.targets import _RESIZERS


class Sample:
    pass


class Derived(Sample):
    pass


@pytest.fixture(autouse=True)
def resizer(monkeypatch):
    monkeypatch.setattr('mmst.subnets.targets._RESIZERS', dict(_RESIZERS))

    @register_resizer(f'{__name__}.Sample')
    def resize(*args):
        return args


def test_subclasses_are_resized_as_their_base():
    samples = [Sample(), Derived()]
    assert resize_samples(samples, (8, 12), (4, 6)) == [
        (sample, (8, 12), (4, 6)) for sample in samples]


def test_nothing_to_resize():
    samples = [Sample(), object()]
    assert resize_samples(samples, (8, 12), (8, 12)) is samples
    assert resize_samples(None, (8, 12), (4, 6)) is None


def test_unknown_type():
    with pytest.raises(TypeError, match='builtins.int has no resizer. Known: '
                       '.*DataSample, .*Sample. Set neither'):
        resize_samples([7], (8, 12), (4, 6))
