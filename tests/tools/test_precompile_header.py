"""GCC takes the precompiled header as an extension of mmcv's name is built.

With one of torch's small headers, to be quick.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.environments import run_process

# As mmcv builds its operators, but for linking.
BUILD = """
from setuptools import setup
from torch.utils.cpp_extension import *

class Compile(BuildExtension):
    def build_extensions(self):
        self.compiler.link_shared_object = lambda *args, **kwargs: None
        super().build_extensions()

extension = CppExtension(
    'mmcv._ext', ['needs_header.cpp'],
    define_macros=[('MMCV_WITH_CUDA', None)],
    extra_compile_args={'cxx': ['-std=c++17']})
setup(script_args=['build_ext', '-t', 'out', '-b', 'out'],
      ext_modules=[extension], cmdclass={'build_ext': Compile})
"""


def is_gcc():
    if shutil.which('c++') is None:
        return False
    return 'Free Software Foundation' in run_process('c++', '--version')


@pytest.mark.slow
@pytest.mark.skipif(not is_gcc(), reason='c++ is not GCC')
def test_gcc_takes_the_header(tmp_path):
    """Without the header, which has C10_UID, the file would not compile."""
    folder = tmp_path / 'a folder'  # as a path may have a space
    folder.mkdir()
    (folder / 'needs_header.cpp').write_text('int a = C10_UID;\n')
    script = ROOT / 'tools/precompile_header.py'
    # With ninja, which pip put beside Python.
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    for command, flags in (
        ([script, 'c10/macros/Macros.h', folder / 'torch.h'], ''),
        (['-c', BUILD], f" -include '{folder}/torch.h'"),
    ):
        variables = dict(PATH=path, CPPFLAGS=f'-g0 -O2{flags}')
        run_process(sys.executable, *command, cwd=folder, **variables)
