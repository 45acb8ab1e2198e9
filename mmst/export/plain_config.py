"""Remove from a config what stimulative training added to it."""

from inspect import Parameter, signature
from typing import Any, List

from mmengine.config import Config
from mmengine.runner import Runner

from mmst.engine.loops import STLoopMixin
from mmst.launch.configured_training import get_class_name

_LOOPS = ('STEpochBasedTrainLoop', 'STIterBasedTrainLoop')


def make_plain_config(cfg: Config) -> Config:
    """Make the config of the same training in the stock toolbox.

    The head is unwrapped from :class:`mmst.models.STClsHead`, the train loop
    is MMEngine's own, hooks of ``mmst`` are removed. So are pretrained weights
    to start from, which a checkpoint replaces. The given config stays.
    """
    # Classes of new-style configs become their names.
    plain = cfg.to_dict()
    plain['model'] = _make_plain_model(plain['model'])
    loop = get_class_name(plain.get('train_cfg'))
    if loop in _LOOPS:
        plain['train_cfg']['type'] = loop[len('ST') :]
        for name, option in signature(STLoopMixin.__init__).parameters.items():
            if option.kind is Parameter.KEYWORD_ONLY:
                plain['train_cfg'].pop(name, None)
    hooks = plain.get('custom_hooks') or []
    plain['custom_hooks'] = [hook for hook in hooks if not is_ours(hook)]
    for name, hook in (plain.get('default_hooks') or {}).copy().items():
        if is_ours(hook):
            del plain['default_hooks'][name]
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if is_ours((plain.get(loader) or {}).get('worker_init_fn')):
            del plain[loader]['worker_init_fn']
    # Bases leave entries for configs to use that the runner never reads.
    read = signature(Runner.__init__).parameters
    plain = {
        key: value
        for key, value in plain.items()
        if key in read or not list_own_types(value)
    }
    plain.pop('work_dir', None)
    if plain.get('data_preprocessor'):
        # So that the model can also be built without a runner.
        plain['model'].setdefault(
            'data_preprocessor', plain['data_preprocessor']
        )
    imports = plain.pop('custom_imports', None) or {}
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else names
    names = [name for name in names if name.split('.')[0] != 'mmst']
    if names:
        plain['custom_imports'] = dict(imports, imports=names)
    return Config(plain)


def is_ours(value: Any) -> bool:
    """Whether a part of a config is an object of ``mmst``."""
    if not isinstance(value, dict):
        return False
    kind = value.get('type')  # in new-style configs the class itself
    name = kind.__module__ if isinstance(kind, type) else str(kind)
    return name.split('.')[0] == 'mmst'


def list_own_types(value: Any) -> List[str]:
    """List the types of ``mmst`` in a part of a config."""
    if isinstance(value, dict):
        own = [str(value['type'])] if is_ours(value) else []
        return own + list_own_types(list(value.values()))
    if isinstance(value, (list, tuple)):
        return [name for entry in value for name in list_own_types(entry)]
    return []


def _make_plain_model(part: Any) -> Any:
    """Unwrap heads, and drop weights to start from, in a part of a model."""
    if isinstance(part, (list, tuple)):
        return type(part)(map(_make_plain_model, part))
    if not isinstance(part, dict):
        return part
    if get_class_name(part) == 'STClsHead' and 'head' in part:
        return _make_plain_model(part['head'])
    return {
        key: _make_plain_model(entry)
        for key, entry in part.items()
        if key not in ('pretrained', 'checkpoint_path')
        and not (key == 'init_cfg' and _loads_weights(entry))
    }


def _loads_weights(init_cfg: Any) -> bool:
    if isinstance(init_cfg, (list, tuple)):
        return any(map(_loads_weights, init_cfg))
    # New-style configs name the class, PretrainedInit.
    return get_class_name(init_cfg) in ('Pretrained', 'PretrainedInit')
