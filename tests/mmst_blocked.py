"""Lets no module of mmst be imported after this one."""

import sys


class Block:
    """A finder that is asked first."""

    @staticmethod
    def find_spec(name, *args):
        if name.split('.')[0] == 'mmst':
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Block)
