"""Read checkpoints without running the code that they may carry.

A checkpoint is a pickle, and a pickle may name any function for its reader
to call. ``torch.load(weights_only=True)`` refuses that, but also refuses the
message hub that mmengine needs to resume. So the reader here has an
allow-list of its own, one for testing, ``load_from`` and resuming alike, and
does the same on every torch version.

This module is what ``torch.load(pickle_module=...)`` asks for: it has an
``Unpickler`` and a ``load``.
"""

import argparse
import codecs
import collections
import pickle
import pickletools
import sys
import zipfile
from contextlib import contextmanager
from typing import IO, Any, Callable, ClassVar, Dict, Iterator, List, Tuple

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

#: Where projects put a network's weights beside optimizer and the like.
WEIGHT_ENTRIES = ('state_dict', 'model', 'state_dict_ema', 'model_ema')


class UnsafeCheckpointError(ValueError):
    """A checkpoint names something that plain data does not need."""


def _history_buffer_method(owner: type, name: str) -> Callable[..., Any]:
    """``getattr``, as far as a pickled HistoryBuffer needs it."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise UnsafeCheckpointError(f'getattr({owner!r}, {name!r})')


def _allowed() -> Dict[Tuple[str, str], Any]:
    """(module, name) -> object, for all that may be named in a checkpoint."""
    # torch.save's pickle protocol spells builtins the Python 2 way.
    allowed: Dict[Tuple[str, str], Any] = {
        ('__builtin__', kind.__name__): kind
        for kind in (set, frozenset, bytes, bytearray, complex)
    }
    allowed['__builtin__', 'getattr'] = _history_buffer_method
    allowed.update(
        {('builtins', name): value for (_, name), value in allowed.items()}
    )
    allowed['_codecs', 'encode'] = codecs.encode  # how it spells bytes
    # OrderedDict: state dicts; Counter: the milestones of MultiStepLR.
    for kind in (
        collections.OrderedDict,
        collections.Counter,
        argparse.Namespace,  # the options of a training: attributes alone
        ConfigDict,
        HistoryBuffer,
        torch.nn.Parameter,
    ):
        allowed[kind.__module__, kind.__name__] = kind
    for name in ('Tensor', 'Size', 'device'):
        allowed['torch', name] = getattr(torch, name)
    for name, value in vars(torch).items():
        if isinstance(value, torch.dtype):
            allowed['torch', name] = value
    for name in (
        '_rebuild_tensor',
        '_rebuild_tensor_v2',
        '_rebuild_parameter',
    ):
        allowed['torch._utils', name] = getattr(torch._utils, name)
    # numpy 2 moved its core; checkpoints of either serve both.
    array, scalar = np.zeros(1).__reduce__()[0], np.float64().__reduce__()[0]
    for core in ('numpy.core', 'numpy._core'):
        allowed[f'{core}.multiarray', '_reconstruct'] = array
        allowed[f'{core}.multiarray', 'scalar'] = scalar
    allowed['numpy', 'ndarray'] = np.ndarray
    allowed['numpy', 'dtype'] = np.dtype
    return allowed


#: What a checkpoint may name. A project whose own checkpoints hold another
#: harmless class adds it here, in a module of its ``custom_imports``.
ALLOWED = _allowed()


# What the base does at the opcode that gives an object its state.
_BUILD: Callable[[Any], None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]


class Unpickler(pickle._Unpickler):
    """Unpickler that knows the classes and functions of ``ALLOWED`` only.

    Built on the Python form of ``pickle.Unpickler``, because only there an
    opcode can be overridden.
    """

    dispatch: ClassVar[Dict[int, Callable[[Any], None]]] = dict(
        pickle._Unpickler.dispatch
    )
    stack: List[Any]  # of the base; type checkers do not know of it

    def load(self) -> Any:
        try:
            return super().load()
        except (KeyError, IndexError) as error:  # in place of an opcode
            raise pickle.UnpicklingError(
                'not a checkpoint, or a damaged one'
            ) from error

    def find_class(self, module: str, name: str) -> Any:
        """Look a global up in the allow-list.

        Raises:
            UnsafeCheckpointError: If it is not on the list.
        """
        if (module, name) not in ALLOWED:
            raise UnsafeCheckpointError(f'{module}.{name}')
        return ALLOWED[module, name]

    def load_build(self) -> None:
        # State is for new objects. A class or a function belongs to the whole
        # process, and must not be changed by a file.
        target = self.stack[-2]
        if callable(target):
            raise UnsafeCheckpointError(f'changing {target!r}')
        _BUILD(self)

    dispatch[pickle.BUILD[0]] = load_build


def load(file: IO[bytes], **kwargs: Any) -> Any:
    """``pickle.load`` with the restricted unpickler."""
    return Unpickler(file, **kwargs).load()


def _refuse_torchscript(*args: Any, **kwargs: Any) -> None:
    raise UnsafeCheckpointError('a TorchScript archive')


def _name_weights(file: Any) -> str:
    """The entries with weights of a file, as far as its names tell."""
    names = set()
    if isinstance(file, str) and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for part in archive.namelist():
                if part.endswith('/data.pkl'):
                    # Reads names, and makes nothing of them.
                    names |= {
                        argument
                        for _, argument, _ in pickletools.genops(
                            archive.read(part)
                        )
                        if argument in WEIGHT_ENTRIES
                    }
    found = [repr(name) for name in WEIGHT_ENTRIES if name in names]
    return ' or '.join(found) or 'weights'


@contextmanager
def safe_load() -> Iterator[None]:
    """Make every ``torch.load`` inside the block refuse code.

    The place is ``torch.load`` itself, since mmengine calls it from each of
    its checkpoint sources (file, http, model zoo, ...) and passes no option
    through.

    Raises:
        UnsafeCheckpointError: Inside the block, if a checkpoint names
            anything that is not in :data:`ALLOWED`.

    Example:
        >>> with safe_load():
        ...     runner.train()
    """
    torch_load, jit_load = torch.load, torch.jit.load

    def load_data_only(
        f: Any, map_location: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        kwargs = {
            key: value
            for key, value in kwargs.items()
            if key not in ('pickle_module', 'weights_only')
        }
        try:
            return torch_load(
                f,
                map_location,
                pickle_module=sys.modules[__name__],
                weights_only=False,
                **kwargs,
            )
        except UnsafeCheckpointError as error:
            raise UnsafeCheckpointError(
                f'The checkpoint {getattr(f, "name", f)} is refused: it asks '
                f'for "{error}", and a checkpoint may hold tensors and plain '
                'values only. Nothing in it was run. If you trust its '
                f'origin, save its {_name_weights(f)} alone to a new file, or '
                'add the class to mmst.checkpoints.safe_load.ALLOWED.'
            ) from error

    torch.load, torch.jit.load = load_data_only, _refuse_torchscript
    try:
        yield
    finally:
        torch.load, torch.jit.load = torch_load, jit_load
