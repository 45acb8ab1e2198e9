"""Read checkpoints without running code that they may contain.

A checkpoint is a pickle, and a pickle can make its reader call any function.
``torch.load(weights_only=True)`` refuses that, but also refuses the message
hub that mmengine needs to resume. So this reader has its own allow-list, for
testing, ``load_from`` and resuming, and works the same on every torch version.

This module can be passed to ``torch.load(pickle_module=...)``, which needs an
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
from importlib.util import find_spec
from pathlib import Path
from typing import (
    IO,
    Any,
    Callable,
    ClassVar,
    Dict,
    Iterator,
    List,
    Tuple,
    Union,
)

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

#: Entries in which projects store weights, beside the optimizer and so on.
WEIGHT_ENTRIES = ('state_dict', 'model', 'state_dict_ema', 'model_ema')


class UnsafeCheckpointError(ValueError):
    """A checkpoint names something that plain data does not need."""


def _get_history_buffer_method(owner: type, name: str) -> Callable[..., Any]:
    """Do what a pickled HistoryBuffer needs of ``getattr``."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(HistoryBuffer, name)
    raise UnsafeCheckpointError(f'getattr({owner!r}, {name!r})')


def _list_allowed() -> Dict[Tuple[str, str], Any]:
    """Map (module, name) to each object that a checkpoint may name."""
    # torch.save's pickle protocol uses Python 2's name of builtins.
    allowed: Dict[Tuple[str, str], Any] = {
        ('__builtin__', kind.__name__): kind
        for kind in (set, frozenset, bytes, bytearray, complex)
    }
    allowed['__builtin__', 'getattr'] = _get_history_buffer_method
    allowed.update(
        {('builtins', name): value for (_, name), value in allowed.items()}
    )
    allowed['_codecs', 'encode'] = codecs.encode  # its form of bytes
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
    # numpy 2 moved its core; read checkpoints of both.
    array, scalar = np.zeros(1).__reduce__()[0], np.float64().__reduce__()[0]
    for core in ('numpy.core', 'numpy._core'):
        allowed[f'{core}.multiarray', '_reconstruct'] = array
        allowed[f'{core}.multiarray', 'scalar'] = scalar
    allowed['numpy', 'ndarray'] = np.ndarray
    allowed['numpy', 'dtype'] = np.dtype
    return allowed


#: What a checkpoint may name. To allow another harmless class, add it here in
#: a module listed in ``custom_imports``.
ALLOWED = _list_allowed()


# The base class's handler of the opcode that sets an object's state.
_BUILD: Callable[[Any], None] = pickle._Unpickler.dispatch[pickle.BUILD[0]]


class Unpickler(pickle._Unpickler):
    """Unpickler that allows only the classes and functions in ``ALLOWED``.

    Derived from the Python version of ``pickle.Unpickler``, the only one in
    which an opcode can be overridden.
    """

    dispatch: ClassVar[Dict[int, Callable[[Any], None]]] = dict(
        pickle._Unpickler.dispatch
    )
    stack: List[Any]  # the base class's, unknown to type checkers

    def load(self) -> Any:
        try:
            return super().load()
        except (KeyError, IndexError) as error:  # in place of an opcode
            raise pickle.UnpicklingError(
                'not a checkpoint, or a damaged one'
            ) from error

    def find_class(self, module: str, name: str) -> Any:
        """Look up a global in the allow-list.

        Raises:
            UnsafeCheckpointError: If it is not on the list.
        """
        if (module, name) not in ALLOWED:
            raise UnsafeCheckpointError(f'{module}.{name}')
        return ALLOWED[module, name]

    def load_build(self) -> None:
        # State is for new objects. Classes and functions belong to the whole
        # process; a file must not change them.
        target = self.stack[-2]
        if callable(target):
            raise UnsafeCheckpointError(f'changing {target!r}')
        _BUILD(self)

    dispatch[pickle.BUILD[0]] = load_build


def load(file: IO[bytes], **kwargs: Any) -> Any:
    """``pickle.load`` with the restricted unpickler."""
    return Unpickler(file, **kwargs).load()


def read_safetensors(path: Union[str, Path]) -> Dict[str, Any]:
    """Read a ``.safetensors`` file: tensors by name, on the CPU.

    Raises:
        ModuleNotFoundError: If the package safetensors is not installed.
    """
    if find_spec('safetensors') is None:
        raise ModuleNotFoundError(
            f'{path} needs the package safetensors: pip install safetensors'
        )
    from safetensors.torch import load_file

    return dict(load_file(str(path)))


def _refuse_torchscript(*args: Any, **kwargs: Any) -> None:
    raise UnsafeCheckpointError('a TorchScript archive')


def _name_weights(file: Any) -> str:
    """Name the entries of a file that seem to hold weights."""
    names = set()
    if isinstance(file, str) and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for part in archive.namelist():
                if part.endswith('/data.pkl'):
                    # Only reads the opcodes, and executes none.
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

    It replaces ``torch.load`` itself, because mmengine calls that for each of
    its checkpoint sources (file, http, model zoo, ...) without options.
    ``.safetensors`` files are read too.

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
        if isinstance(f, (str, Path)) and Path(f).suffix == '.safetensors':
            return read_safetensors(f)  # which holds no code
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
                f'for "{error}", but a checkpoint may hold only tensors and '
                'plain values. Nothing in it was run. If you trust its '
                f'origin, save only its {_name_weights(f)} to a new file, or '
                'add the class to mmst.checkpoints.safe_load.ALLOWED.'
            ) from error

    torch.load, torch.jit.load = load_data_only, _refuse_torchscript
    try:
        yield
    finally:
        torch.load, torch.jit.load = torch_load, jit_load
