"""Child registries of MMEngine that ``mmst`` registers into.

A config reaches everything here by its scope, ``type='mmst.STClsHead'``,
with any ``default_scope``.
"""

from typing import Any

from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

from mmst.subnets.options import refuse_unknown


class OptionsRegistry(Registry):
    """Its classes refuse options that they do not have, by name."""

    def register_module(
        self, name: Any = None, force: bool = False, module: Any = None
    ) -> Any:
        """Register a class; without ``module`` as a decorator."""
        if module is not None:
            return super().register_module(name, force, refuse_unknown(module))
        register = super().register_module(name, force)
        return lambda part: register(refuse_unknown(part))


MODELS = OptionsRegistry(
    'model', parent=MMENGINE_MODELS, locations=['mmst.models']
)
HOOKS = OptionsRegistry(
    'hook', parent=MMENGINE_HOOKS, locations=['mmst.engine.hooks']
)
LOOPS = OptionsRegistry(
    'loop', parent=MMENGINE_LOOPS, locations=['mmst.engine']
)
FUNCTIONS = Registry(
    'function', parent=MMENGINE_FUNCTIONS, locations=['mmst.engine.hooks']
)
