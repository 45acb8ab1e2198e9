"""Packaging of mmst, with the ``.mim`` folder that MIM reads.

MIM (``mim train mmst ...``) looks for configs and tools in ``.mim`` inside of
the installed package. An editable install gets links there,
so that an edited config counts at once; a wheel gets copies.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent
MIM_SOURCES = ('configs', 'tools', 'model-index.yml')


def read_version() -> str:
    """Return the version without importing mmst, which needs torch."""
    text = (ROOT / 'mmst' / 'version.py').read_text(encoding='utf-8')
    return re.search(r"__version__ = '([^']+)'", text).group(1)


def read_requirements(name: str) -> list:
    """Return the lines of ``requirements/NAME.txt`` that name a package."""
    lines = (
        (ROOT / 'requirements' / f'{name}.txt')
        .read_text(encoding='utf-8')
        .splitlines()
    )
    lines = [line.split('#')[0].strip() for line in lines]
    return [line for line in lines if line and not line.startswith('-')]


def read_readme() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


def fill_mim_folder(package: Path, link: bool) -> None:
    """Put configs, tools and the model index into ``package/.mim``.

    What an earlier build left there is replaced, so that a config which has
    been removed does not stay installed.

    Args:
        package: The folder of the mmst package that is being installed.
        link: Whether to make links to the sources instead of copies.
    """
    folder = package / '.mim'
    if folder.exists():
        shutil.rmtree(folder)  # removes links, not what they point to
    folder.mkdir(parents=True)
    for name in MIM_SOURCES:
        source = ROOT / name
        if not source.exists():
            continue
        if link:
            try:
                # Relative, so that the repository can be moved.
                os.symlink(
                    os.path.relpath(source, folder),
                    folder / name,
                    target_is_directory=source.is_dir(),
                )
                continue
            except OSError:
                pass  # no links here (Windows, some file systems): copy
        if source.is_dir():
            ignore = shutil.ignore_patterns('__pycache__', '*.py[cod]')
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copyfile(source, folder / name)


class BuildWithMim(build_py):
    """Runs in every ``pip install``, editable or not, and for a wheel."""

    def run(self):
        super().run()
        # Absent in setuptools before 64, which has no such editable installs.
        editable = getattr(self, 'editable_mode', False)
        package = ROOT if editable else Path(self.build_lib)
        fill_mim_folder(package / 'mmst', link=editable)


class DevelopWithMim(develop):
    """An editable install by an older pip or setuptools."""

    def run(self):
        super().run()
        fill_mim_folder(ROOT / 'mmst', link=True)


OPTIONAL = {name: read_requirements(name) for name in ('det', 'seg', 'pose')}
TESTS = read_requirements('tests')

setup(
    name='mmst',
    version=read_version(),
    description='Stimulative training (ST and ST++) for OpenMMLab',
    long_description=read_readme(),
    long_description_content_type='text/markdown',
    author='mmst contributors',
    license='Apache-2.0',
    keywords='computer vision, residual networks, stimulative training, '
    'OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmst', 'mmst.*']),
    package_data={'mmst': ['py.typed']},  # tells that there are type hints
    python_requires='>=3.8',
    # mmengine, mmcv, mmpretrain and torch are left out on purpose: which build
    # fits depends on the machine, and the OneDL packages, which serve as well,
    # have other names. Importing mmst checks what is there.
    install_requires=read_requirements('runtime'),
    extras_require={
        **OPTIONAL,
        'tests': TESTS,
        'all': sum(OPTIONAL.values(), []) + TESTS,
        'mim': read_requirements('mminstall'),  # `mim install` reads this one
    },
    cmdclass={'build_py': BuildWithMim, 'develop': DevelopWithMim},
    zip_safe=False,
)
