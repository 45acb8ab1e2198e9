"""Read checkpoints without running code that they may contain.

A checkpoint is a pickle, and a pickle can make its reader call any function.
``torch.load(weights_only=True)`` refuses that, but also refuses what MMEngine
needs to resume, and gives no weights if anything beside them is unknown. So
this reader has its own allow-list, the same on every version of torch.
"""

# torch.serialization.safe_globals (torch >= 2.5) cannot replace it: torch
# lists a file's unknown classes, to allow placeholders for them, in archives
# alone, and lets none stand for an object of a subclass of list. MMEngine's
# history of losses needs `getattr`, which it can allow for all names only.

import argparse
import array
import codecs
import collections
import datetime
import logging
import pathlib
import pickle
import zipfile
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import (
    Any,
    Callable,
    ClassVar,
    Dict,
    Iterator,
    List,
    Optional,
    Tuple,
    Union,
)

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler


class UnsafeCheckpointError(ValueError):
    """A checkpoint names something that plain data does not need."""


class DamagedCheckpointError(ValueError):
    """A file is empty, cut short or no checkpoint at all."""


def _list_allowed() -> Dict[Tuple[str, str], Any]:
    """Map (module, name) to each object that a checkpoint may name."""
    plain: Tuple[Any, ...] = (
        *(bool, int, float, complex, str, bytes, bytearray),
        *(tuple, list, dict, set, frozenset, range, slice),
        array.array,
        codecs.encode,  # Python 2's form of bytes
        collections.Counter,  # milestones of MultiStepLR
        collections.OrderedDict,
        collections.defaultdict,
        collections.deque,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        argparse.Namespace,  # options of other trainers: attributes alone
        ConfigDict,
        HistoryBuffer,
        OneCycleParamScheduler,
        # Methods, which pickles fetch by ``getattr``.
        HistoryBuffer.min,
        HistoryBuffer.max,
        HistoryBuffer.current,
        HistoryBuffer.mean,
        OneCycleParamScheduler._annealing_cos,
        OneCycleParamScheduler._annealing_linear,
        np.ndarray,
        np.dtype,
        torch.Tensor,
        torch.Size,
        torch.device,
        torch.nn.Parameter,
        torch._utils._rebuild_tensor,
        torch._utils._rebuild_tensor_v2,
        torch._utils._rebuild_parameter,
    )
    allowed: Dict[Tuple[str, str], Any] = {
        (kind.__module__, kind.__qualname__): kind for kind in plain
    }
    # torch.save's pickle protocol uses Python 2's names of builtins.
    for module, name in list(allowed):
        if module == 'builtins':
            allowed['__builtin__', name] = allowed[module, name]
    allowed['__builtin__', 'xrange'] = range
    # A path of the other system cannot be made here; its pure form can.
    for module in ('pathlib', 'pathlib._local'):
        for name in ('PurePosixPath', 'PosixPath'):
            allowed[module, name] = pathlib.PurePosixPath
        for name in ('PureWindowsPath', 'WindowsPath'):
            allowed[module, name] = pathlib.PureWindowsPath
        allowed[module, type(pathlib.Path()).__name__] = pathlib.Path
    for name, value in vars(torch).items():
        if isinstance(value, torch.dtype):
            allowed['torch', name] = value
    # numpy 2 moved its core; read checkpoints of both.
    for core in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed[core, '_reconstruct'] = np.zeros(1).__reduce__()[0]
        allowed[core, 'scalar'] = np.float64().__reduce__()[0]
    return allowed


#: The classes and functions that a checkpoint may name. To allow another
#: harmless class, add it here in a module listed in ``custom_imports``.
ALLOWED = _list_allowed()


class Placeholder:
    """An object of a class that is not in ``ALLOWED``.

    Its class has the name of the one in the file. Arguments, state and
    entries are dropped, and no operation works on it.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> 'Placeholder':
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _drop(self, *args: Any) -> None:
        pass

    # All that unpickling does to an object.
    __setstate__ = __setitem__ = append = extend = add = update = _drop


class Unpickler(pickle._Unpickler):
    """Unpickler that allows only the classes and functions in ``ALLOWED``.

    Attributes:
        replaced: The names of others, for each of which a
            ``Placeholder`` is put; if ``None``, others are refused.

    Derived from the Python version of ``pickle.Unpickler``, the only one in
    which an opcode can be overridden.
    """

    dispatch: ClassVar[Dict[int, Callable[[Any], None]]] = dict(
        pickle._Unpickler.dispatch
    )
    stack: List[Any]  # the base class's, unknown to type checkers
    replaced: ClassVar[Optional[List[str]]] = None

    def find_class(self, module: str, name: str) -> Any:
        """Look up a global in the allow-list."""
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module in ('__builtin__', 'builtins') and name == 'getattr':
            return self._get_method
        if self.replaced is None:
            raise UnsafeCheckpointError(f'{module}.{name}')
        self.replaced.append(f'{module}.{name}')
        return type(name, (Placeholder,), dict(__module__=module))

    def _get_method(self, owner: Any, name: str) -> Any:
        module = getattr(owner, '__module__', '')
        method = f'{getattr(owner, "__qualname__", owner)}.{name}'
        if (module, method) in ALLOWED:
            return ALLOWED[module, method]
        return self.find_class('getattr', method)

    def load_build(self) -> None:
        # State is for new objects. Classes and functions belong to the whole
        # process; a file must not change them.
        target = self.stack[-2]
        if callable(target):
            raise UnsafeCheckpointError(f'changing {target!r}')
        build: Any = pickle._Unpickler.dispatch[pickle.BUILD[0]]
        build(self)

    dispatch[pickle.BUILD[0]] = load_build


def read_safetensors(path: Union[str, pathlib.Path]) -> Dict[str, Any]:
    """Read a ``.safetensors`` file: tensors by name, on the CPU."""
    if find_spec('safetensors') is None:
        raise ModuleNotFoundError(
            f'{path} needs the package safetensors: pip install safetensors'
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path)))
    except SafetensorError as error:
        raise DamagedCheckpointError(
            f'{path} is damaged, or no safetensors file: {error}'
        ) from None


def find_damage(path: Union[str, pathlib.Path]) -> Optional[str]:
    """Say what is wrong with a file in torch's format.

    That is the end of a sentence, or ``None``. Files from before torch 1.6,
    which are no archives, are not looked into.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    if size == 0:
        return 'is empty (0 bytes)'
    with path.open('rb') as file:
        if file.read(2) != b'PK':
            return None
    if not zipfile.is_zipfile(path):
        return f'is cut short: its end is missing after {size:,} bytes'
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    return bad and f'is damaged: the checksum of {bad} in it is wrong'


def _refuse_torchscript(*args: Any, **kwargs: Any) -> None:
    raise UnsafeCheckpointError('a TorchScript archive')


@contextmanager
def safe_load(unknown: str = 'replace') -> Iterator[None]:
    """Make every ``torch.load`` inside the block run no code.

    ``torch.load`` itself is replaced, as mmengine calls it for each of its
    checkpoint sources (file, http, model zoo, ...) without options.
    ``.safetensors`` files are read too.

    Args:
        unknown: The treatment of classes that are not in ``ALLOWED``.
            'replace': a ``Placeholder`` stands for each of their
            objects, with a warning, so that weights can always be read.
            'refuse': an error, as for resuming, which needs all of a file.
            'run': they are imported and called, as MMEngine does; for
            trusted files.

    Raises:
        UnsafeCheckpointError: Inside the block, by 'refuse', if a checkpoint
            names anything that is not in ``ALLOWED``.
        DamagedCheckpointError: Inside the block, if a file is empty, cut
            short or no checkpoint.

    Example:
        >>> with safe_load():
        ...     runner.train()
    """
    torch_load, jit_load = torch.load, torch.jit.load

    def load_data_only(
        f: Any, map_location: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        if str(f).endswith('.safetensors'):
            return read_safetensors(f)  # which holds no code
        is_path = isinstance(f, (str, pathlib.Path))
        name = f if is_path else getattr(f, 'name', f)
        replaced: List[str] = []
        own = dict(replaced=replaced if unknown == 'replace' else None)
        reader: Any = type('Reader', (Unpickler,), own)
        kwargs.update(weights_only=False, pickle_module=pickle)
        if unknown != 'run':
            kwargs['pickle_module'] = SimpleNamespace(
                __name__=__name__,
                Unpickler=reader,
                load=lambda file, **options: reader(file, **options).load(),
            )
        try:
            checkpoint = torch_load(f, map_location, **kwargs)
        except UnsafeCheckpointError as error:
            raise UnsafeCheckpointError(
                f'The checkpoint {name} is refused: it asks for "{error}", '
                'but a checkpoint may hold only tensors and plain values. '
                'Nothing in it was run. If you trust its origin, resume with '
                '--trust-checkpoint, which runs what it asks for, or add the '
                'class to mmst.checkpoints.safe_load.ALLOWED'
            ) from None
        except (FileNotFoundError, MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception:
            path = pathlib.Path(str(name))
            if not path.is_file():
                raise
            damage = find_damage(path)
            if damage is None and zipfile.is_zipfile(path):
                raise
            damage = damage or 'is no checkpoint, or a damaged one'
            raise DamagedCheckpointError(
                f'The checkpoint {path} {damage}'
            ) from None
        if replaced:
            print_log(
                f'{name} holds more than tensors and plain values: '
                f'{", ".join(sorted(set(replaced)))}. Nothing of these was '
                'run, and placeholders stand for their objects',
                'current',
                level=logging.WARNING,
            )
        if unknown != 'run' and isinstance(checkpoint, dict):
            # MMEngine would run this text as a config file when it resumes;
            # its own checkpoints have `cfg`, which it does not read.
            meta = checkpoint.get('meta')
            if isinstance(meta, dict):
                meta.pop('config', None)
        return checkpoint

    torch.load = load_data_only
    if unknown != 'run':
        torch.jit.load = _refuse_torchscript
    try:
        yield
    finally:
        torch.load, torch.jit.load = torch_load, jit_load
