"""Refuse to work on top of packages that mmst cannot work with.

Packages are looked up by import name and by the version that the module gives
itself, never by distribution name: the OneDL packages install under other
distribution names but are imported as ``mmengine``, ``mmcv`` and so on, and
serve as well.
"""

import importlib
import re
import sys
from typing import NamedTuple, Optional, Sequence, Tuple

from .launch.distributions import get_distribution_name


class Requirement(NamedTuple):
    """A package that mmst needs and the versions that it accepts.

    Attributes:
        name: The import name.
        minimum: The oldest version accepted.
        below: The first version no longer accepted; None accepts all newer
            ones.
        install_options: Options that ``pip install`` needs besides the range.
        lighter: A smaller package that serves as well for some tasks, and
            for which.
    """

    name: str
    minimum: str
    below: Optional[str] = None
    install_options: str = ''
    lighter: Optional[Tuple[str, str]] = None

    @property
    def version_range(self) -> str:
        """The range as pip spells it, such as ``>=2.1.0,<2.4.0``."""
        upper = f',<{self.below}' if self.below else ''
        return f'>={self.minimum}{upper}'

    @property
    def install_command(self) -> str:
        """What a user types to get a suitable version."""
        options = f'{self.install_options} ' if self.install_options else ''
        name = get_distribution_name(self.name)
        return f'pip install {options}"{name}{self.version_range}"'

    @property
    def alternative(self) -> str:
        """A line about the smaller package, if there is one."""
        if self.lighter is None:
            return ''
        name, task = self.lighter
        # Not cached: OneDL's is a build of the whole package.
        return (
            f'  or, for {task}, with nothing to compile: pip install '
            f'--no-cache-dir "{get_distribution_name(name)}'
            f'{self.version_range}"\n'
        )

    def accepts(self, version: str) -> bool:
        """Tell whether ``version`` lies in the range."""
        release = parse_release(version)
        if release < parse_release(self.minimum):
            return False
        return self.below is None or release < parse_release(self.below)


# Importing one needs those before it, so the order matters: mmpretrain asserts
# its own range of mmcv, and our message about mmcv has to come first.
# Keep the OpenMMLab ranges equal to those in requirements/mminstall.txt.
TORCH = (Requirement('torch', '2.1.0'),)
OPENMMLAB = (
    Requirement('mmengine', '0.10.0', '1.0.0'),
    # Where pip finds no built mmcv it compiles one, and in an isolated build,
    # which lacks torch, that leaves the compiled operators out silently.
    Requirement(
        'mmcv',
        '2.1.0',
        '2.4.0',
        '--no-build-isolation',
        # Has no compiled operators, and so nothing to compile.
        lighter=('mmcv-lite', 'classification alone'),
    ),
    Requirement('mmpretrain', '1.2.0', '2.0.0'),
)


def parse_release(version: str) -> Tuple[int, int, int]:
    """Return the first three numbers of a version.

    Pre-release and local parts do not count: ``2.1.2+cpu`` gives (2, 1, 2)
    and ``2.0.0rc4`` gives (2, 0, 0).

    Raises:
        ValueError: If ``version`` does not start with a number.
    """
    match = re.match(r'(\d+)(?:\.(\d+))?(?:\.(\d+))?', version)
    if match is None:
        raise ValueError(
            f'version {version!r} does not start with a number such as 2.1.0'
        )
    major, minor, patch = (int(part or 0) for part in match.groups())
    return major, minor, patch


def check_requirements(requirements: Sequence[Requirement]) -> None:
    """Import required packages and check their versions.

    Args:
        requirements: The packages, in the order in which to import them.

    Raises:
        ImportError: If one is missing, fails to import, or has a version
            outside of its range. The message says which, what was found, what
            is allowed and what to type.
    """
    for requirement in requirements:
        found = _find_problem(requirement)
        if found is not None:
            raise ImportError(
                f'mmst needs {requirement.name}'
                f'{requirement.version_range}, but {found}.\n'
                f'  allowed: {requirement.name}'
                f'{requirement.version_range}\n'
                f'  type:    {requirement.install_command}\n'
                f'{requirement.alternative}'
                'Or run "bash tools/install.sh" in the mmst repository, which '
                'makes an environment with versions that are tested together.'
            )


def _find_problem(requirement: Requirement) -> Optional[str]:
    """Say what is wrong with an installed package; None if nothing is."""
    name = requirement.name
    try:
        module = importlib.import_module(name)
    except Exception as error:  # toolboxes assert their own ranges
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return f'no {name} is installed for {sys.executable}'
        # A package that fails half-way has usually read its version module.
        version = getattr(
            sys.modules.get(f'{name}.version'), '__version__', None
        )
        return (
            f'{name} {version or "(version unknown)"} cannot be imported '
            f'({type(error).__name__}: {error})'
        )
    version = getattr(module, '__version__', None)
    if version is None:
        # A folder of that name on sys.path looks like this.
        return f'the {name} found at {_get_location(module)} has no version'
    if not requirement.accepts(str(version)):
        return f'{name} {version} was found at {_get_location(module)}'
    return None


def _get_location(module: object) -> str:
    path = getattr(module, '__file__', None)
    return path or str(list(getattr(module, '__path__', ['unknown place'])))
