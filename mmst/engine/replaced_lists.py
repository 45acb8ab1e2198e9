"""Find hooks and imports of a base config that a list has replaced.

MMEngine merges dicts of a config and its bases, but replaces lists, silently.
"""

from pathlib import Path
from typing import Any, List, Set

from mmengine.config import Config

_ADDING = dict(
    custom_hooks="custom_hooks = [*_base_.get('custom_hooks', []), ...]",
    custom_imports='custom_imports = dict('
    'imports=[*_base_.custom_imports.imports, ...])',
)


def describe_replaced(cfg: Config) -> List[str]:
    """Describe hooks and imports of base configs that a config lost.

    Base files are found in ``cfg.text``, which has the path before each one's
    text. A config in MMEngine's new style has none there, so nothing is found.

    Args:
        cfg: A config read from a file.

    Returns:
        list: One sentence per base and list.

    Example:
        >>> describe_replaced(Config(dict(custom_hooks=[])))
        []
    """
    lines: List[str] = []
    told: Set[str] = {'mmst'}  # needs no import
    for path in _list_bases(cfg):
        try:
            base = Config.fromfile(path, import_custom_modules=False)
        except Exception:  # moved or changed since it was read
            continue
        for key, find in (
            ('custom_hooks', _find_hooks),
            ('custom_imports', _find_imports),
        ):
            lost = sorted(find(base) - find(cfg) - told)
            told.update(lost)
            if lost:
                lines.append(
                    f'{key} does not have {", ".join(lost)} of the base '
                    f'config {path}, because a list replaces the one of its '
                    f'base. To add to it: {_ADDING[key]}'
                )
    return lines


def _list_bases(cfg: Config) -> List[str]:
    own = Path(cfg.filename).resolve() if cfg.filename else None
    return [
        line
        for line in dict.fromkeys((cfg.text or '').splitlines())
        if line.endswith(('.py', '.yml', '.yaml', '.json'))
        and Path(line).is_file()
        and Path(line).resolve() != own
    ][::-1]  # the nearest first


def _find_hooks(cfg: Config) -> Set[str]:
    return {
        _get_name(hook.get('type'))
        for hook in cfg.get('custom_hooks') or ()
        if isinstance(hook, dict)
    }


def _get_name(kind: Any) -> str:
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def _find_imports(cfg: Config) -> Set[str]:
    names = (cfg.get('custom_imports') or {}).get('imports') or ()
    return {names} if isinstance(names, str) else set(names)
