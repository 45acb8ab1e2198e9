"""GCC takes the precompiled header as mmcv is built, and nvcc is not given it.

With one of torch's small headers, to be quick.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.environments import run_process

# As mmcv builds its operators, but for linking, which asks for a CUDA toolkit.
BUILD = """
import sys
from setuptools import setup
from torch.utils.cpp_extension import *

class Compile(BuildExtension):
    def build_extensions(self):
        self.compiler.link_shared_object = lambda *args, **kwargs: None
        super().build_extensions()

extension = eval(sys.argv[1])(
    'mmcv._ext', sys.argv[3:], define_macros=[('MMCV_WITH_CUDA', None)],
    extra_compile_args={'cxx': ['-std=c++17']})
setup(script_args=['build_ext', '-t', sys.argv[2], '-b', sys.argv[2]],
      ext_modules=[extension], cmdclass={'build_ext': Compile})
"""
NVCC = f"""#!/usr/bin/env bash
case "$*" in *--version) echo 'release {torch.version.cuda}, V1' ;; esac
echo "nvcc called: $*"
while [ "$#" -gt 1 ]; do
    [ "$1" != -o ] || touch "$2"
    shift
done
"""


def is_gcc():
    if shutil.which('c++') is None:
        return False
    return 'Free Software Foundation' in run_process('c++', '--version')


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_gcc(), reason='c++ is not GCC'),
]


def run(folder, *command, **variables):
    """Return what Python prints with these environment variables."""
    # With ninja, which pip put beside Python.
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    variables.update(LC_ALL='C', PATH=path)
    return run_process(sys.executable, *command, cwd=folder, **variables)


def test_gcc_takes_the_header_and_nvcc_is_not_given_it(tmp_path):
    """Without the header, which has C10_UID, the file would not compile."""
    # With a space, as a path may have one.
    folder = tmp_path / 'a folder'
    folder.mkdir()
    (folder / 'needs_header.cpp').write_text('int a = C10_UID;\n')
    (folder / 'kernel.cu').write_text('int c;\n')
    script = ROOT / 'tools/precompile_header.py'
    header = ['c10/macros/Macros.h', folder / 'torch.h']
    run(folder, script, *header, CPPFLAGS='-g0 -O2')
    flags = f"-g0 -O2 -include '{folder}/torch.h'"
    command = ['-c', BUILD, 'CppExtension', 'out', 'needs_header.cpp']
    if torch.version.cuda is None:
        run(folder, *command, CPPFLAGS=flags)
        return
    nvcc = tmp_path / 'bin/nvcc'
    nvcc.parent.mkdir()
    nvcc.write_text(NVCC)
    nvcc.chmod(0o755)
    command[2:] = ['CUDAExtension', 'out', 'needs_header.cpp', 'kernel.cu']
    cuda = dict(CUDA_HOME=str(tmp_path), TORCH_CUDA_ARCH_LIST='8.0')
    output = run(folder, *command, CPPFLAGS=flags, **cuda)
    (call,) = re.findall(r'nvcc called: .*-c .*kernel\.cu.*', output)
    assert 'MMCV_WITH_CUDA' in call
    assert '-include' not in call and '-O2' not in call
