"""Remains of an earlier training in the work directory.

Its checkpoint to resume from and what changed since, or files in the way.
"""

import ast
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmst.checkpoints.safe_load import (
    DamagedCheckpointError,
    find_damage,
    safe_load,
)

# Settings that say where and how a run is started, not what is trained.
_OF_THE_START = (
    'launcher',
    'load_from',
    'model_wrapper_cfg',
    'resume',
    'work_dir',
)
# Settings of which a checkpoint has its own values, which MMEngine restores.
_RESTORED = (
    'optim_wrapper.optimizer.',
    'optim_wrapper.paramwise_cfg.',
    'param_scheduler.',
)
#: The most changes to name one by one.
MAX_CHANGES = 30


def describe_files_in_the_way(cfg: Config) -> str:
    """Warn of another training's checkpoints in the work directory, if any."""
    names = [path.name for path in _list_checkpoints(Path(cfg.work_dir))]
    if not names:
        return ''
    return (
        f'{cfg.work_dir} has checkpoints of an earlier training '
        f'({", ".join(names[-3:])}): this one begins anew and overwrites '
        'those of the same name. --resume goes on from the latest; '
        '--work-dir FOLDER keeps the two apart'
    )


def prepare_resume(
    cfg: Config, trust_checkpoint: bool = False
) -> Tuple[str, bool]:
    """Choose and check the checkpoint that a training resumes from.

    Without ``load_from``, which is set, it is the latest one in the work
    directory, which may be a copy of the folder that was trained in.

    Returns:
        A text to log, and whether there is anything left to train.
    """
    if cfg.get('load_from') is None:
        cfg.load_from = _find_latest(Path(cfg.work_dir))
        if cfg.load_from is None:
            text = f'{cfg.work_dir} has no checkpoint: begins at iteration 0'
            return text, True
    path = cfg.load_from
    try:
        # Code that a trusted file asks for runs once, when it is resumed.
        with safe_load('replace' if trust_checkpoint else 'refuse'):
            checkpoint = CheckpointLoader.load_checkpoint(
                path, 'cpu', 'silent'
            )
    except DamagedCheckpointError as error:
        raise DamagedCheckpointError(f'{error}. {_name_other(path)}') from None
    except FileNotFoundError:
        raise FileNotFoundError(
            f'{path}, to resume from, does not exist. {_name_other(path)}'
        ) from None
    meta = checkpoint.get('meta', {})
    if not {'epoch', 'iter'} <= set(meta) or 'message_hub' not in checkpoint:
        raise ValueError(
            f'{path} cannot be resumed from: it has weights only. To start '
            f'a new training from them: --cfg-options load_from={path}, '
            'without --resume'
        )
    done = f'epoch {meta["epoch"]}, iteration {meta["iter"]}'
    lines = [f'Resumes from {path} ({done})']
    lines += _describe_changes(meta.get('cfg', ''), cfg.pretty_text, path)
    for name in ('epoch', 'iter'):
        limit = (cfg.get('train_cfg') or {}).get(f'max_{name}s')
        if limit is not None and meta[name] >= limit:
            return (
                f'{path} ({done}) is the end of the training: there is '
                f'nothing left to train. To go on, set a larger '
                f'train_cfg.max_{name}s than {limit}'
            ), False
    return '\n'.join(lines), True


def _find_latest(work_dir: Path) -> Optional[str]:
    """Find the checkpoint that MMEngine noted, or a copy of it."""
    latest = _list_checkpoints(work_dir)[-1:]
    note = work_dir / 'last_checkpoint'
    if note.exists():
        noted = Path(note.read_text().strip())
        if (work_dir / noted.name).exists():
            latest = [work_dir / noted.name]
        elif noted.exists() or not latest:
            latest = [noted]
    return str(latest[0]) if latest else None


def _list_checkpoints(folder: Path) -> List[Path]:
    """List a folder's checkpoints of trainings, in the order of training."""
    found = []
    for path in folder.glob('*.pth'):
        match = re.fullmatch(r'(epoch|iter)_(\d+)', path.stem)
        if match:
            found.append((match[1], int(match[2]), path))
    return [path for *_, path in sorted(found)]


def _name_other(file: str) -> str:
    """Name the latest undamaged checkpoint beside one that cannot be read."""
    path = Path(file)
    others = _list_checkpoints(path.parent)
    if path in others:
        others = others[: others.index(path)]
    for other in reversed(others):
        if find_damage(other) is None:
            return f'The one before it can be read: --resume {other}'
    return f'There is no other one in {path.parent}'


def _describe_changes(before: str, now: str, path: str) -> List[str]:
    old, new = read_settings(before), read_settings(now)
    changed = {
        name: f'{old.get(name, "not set")} -> {new.get(name, "not set")}'
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name)
        and name.split('.')[0] not in _OF_THE_START
    }
    if not changed or not old:
        return []
    lines = ['Settings that changed since that checkpoint:']
    lines += [f'  {name}: {change}' for name, change in changed.items()]
    if len(changed) > MAX_CHANGES:
        lines[MAX_CHANGES + 1 :] = [f'  ... {len(changed)} in all']
    restored = [name for name in changed if name.startswith(_RESTORED)]
    if restored:
        lines.append(
            'The optimizer and the schedules come from the checkpoint with '
            f'their settings: the change of {", ".join(restored[:3])} '
            f'{"... " if restored[3:] else ""}has no effect. To change them, '
            f'start from its weights: --cfg-options load_from={path}, '
            'without --resume'
        )
    return lines


def read_settings(text: str) -> Dict[str, str]:
    """Read the text of a config, as MMEngine prints it, without running it.

    Gives the value of each setting in Python's form, by its name as in
    ``--cfg-options``; nothing if the text is not of that form.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return {}
    return {
        name: value
        for statement in statements
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        for name, value in _walk(statement.targets[0].id, statement.value)
    }


def _walk(name: str, node: ast.AST) -> Iterator[Tuple[str, str]]:
    if isinstance(node, ast.Call) and node.args:  # dict({'a b': 1})
        node = node.args[0]
    entries: List[Tuple[Any, ast.AST]] = []
    if isinstance(node, ast.Call):  # dict(a=1)
        entries = [(keyword.arg, keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.Dict):
        keys = [getattr(key, 'value', None) for key in node.keys]
        entries = list(zip(keys, node.values))
    elif isinstance(node, (ast.List, ast.Tuple)):
        if any(isinstance(item, (ast.Call, ast.Dict)) for item in node.elts):
            entries = list(enumerate(node.elts))
    for key, value in entries:
        yield from _walk(f'{name}.{key}', value)
    if isinstance(node, ast.Call) and not entries:
        yield name, '{}'
    elif not entries:
        try:
            yield name, repr(ast.literal_eval(node))
        except ValueError:
            yield name, ast.dump(node)
