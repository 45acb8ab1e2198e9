"""Precompile a header of torch for C++ extensions that are built with GCC.

Usage: python tools/precompile_header.py torch/types.h FOLDER/NAME.h

Extensions built with ``-include FOLDER/NAME.h`` in CPPFLAGS then do not parse
that header again for each of their files. GCC uses ``NAME.h.gch`` instead of
``NAME.h``, which is empty, if both were compiled with the same flags and
macros, so torch and setuptools set them here as for an extension.
"""

import argparse
import os
import tempfile
from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension


def precompile(header: str, out: Path) -> None:
    """Write ``out`` and, beside it, the precompiled header.

    Args:
        header: The header as in ``#include``, such as ``torch/types.h``.
        out: The file to write.

    Raises:
        SystemExit: If it does not compile.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        source = Path(folder) / 'header.cpp'
        source.write_text(f'#include <{header}>\n', encoding='utf-8')

        class BuildHeader(BuildExtension):
            """Compile as for an extension, and keep the result unlinked."""

            def build_extensions(self):
                self.compiler.link_shared_object = keep
                super().build_extensions()

        def keep(objects, *args, **kwargs):
            os.replace(objects[0], f'{out}.gch')

        os.environ['CPPFLAGS'] = (
            os.environ.get('CPPFLAGS', '') + ' -x c++-header'
        )
        setup(
            script_args=['build_ext', '-t', folder, '-b', folder],
            # The name matters: torch defines a macro from it, and mmcv's
            # extension is mmcv._ext.
            ext_modules=[CppExtension('_ext', [str(source)])],
            cmdclass={'build_ext': BuildHeader},
        )
    out.touch()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('header')
    parser.add_argument('out', type=Path)
    args = parser.parse_args()
    precompile(args.header, args.out.resolve())
