"""Precompile a header of torch for C++ extensions that are built with GCC.

Usage: python tools/precompile_header.py torch/types.h FOLDER/NAME.h

Extensions built with ``-include FOLDER/NAME.h`` in CPPFLAGS then do not parse
that header again in each of their files. GCC takes ``NAME.h.gch`` in place of
``NAME.h``, if both were compiled with the same flags and macros: so torch and
setuptools choose them here as they do for an extension. Where GCC does not
take it, it reads ``NAME.h``, which says so in a warning and does nothing else.
"""

import argparse
import os
import tempfile
from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension


def precompile(header: str, out: Path) -> None:
    """Write ``out`` and, beside it, what GCC takes in its place.

    Args:
        header: A header as it is included, such as ``torch/types.h``.
        out: Where to put it.

    Raises:
        SystemExit: If it does not compile.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        source = Path(folder) / 'header.cpp'
        source.write_text(f'#include <{header}>\n', encoding='utf-8')

        class BuildHeader(BuildExtension):
            """Compile as for an extension; in place of linking, keep it."""

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
            # The name counts: torch makes a macro of it. mmcv's is mmcv._ext.
            ext_modules=[CppExtension('_ext', [str(source)])],
            cmdclass={'build_ext': BuildHeader},
        )
    out.write_text(
        f'#warning "precompiled {header} is not used"\n', encoding='utf-8'
    )


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('header')
    parser.add_argument('out', type=Path)
    args = parser.parse_args()
    precompile(args.header, args.out.resolve())
