"""Child registries of MMEngine that ``mmst`` registers into.

A config reaches everything here by its scope, ``type='mmst.STClsHead'``,
with any ``default_scope``.
"""

from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, locations=['mmst.models'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, locations=['mmst.engine'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, locations=['mmst.engine'])
FUNCTIONS = Registry(
    'function', parent=MMENGINE_FUNCTIONS, locations=['mmst.engine']
)
