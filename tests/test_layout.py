"""How the package is laid out: docstrings, who imports whom."""

import ast
import re
from importlib import import_module
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Each imports those before it only, as CONTRIBUTING.md has it.
LAYERS = (
    'subnets',
    'targets',
    'models',
    'checkpoints',
    'evaluation',
    'engine',
    'launch',
    'analysis',
    'export',
)


def modules():
    """Name and source of each module."""
    for path in sorted((ROOT / 'mmst').rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        name = '.'.join(part for part in parts if part != '__init__')
        yield name, path.read_text(encoding='utf-8')


MODULES = dict(modules())


def test_docstrings_and_comments_name_things():
    """An entry begins with a noun or a verb, not with a pronoun."""
    odd = re.compile(
        r'^ +(\w+: |# )(What|Those|Of|It|As|Likewise|See there)\b', re.M
    )
    assert not [
        f'{name}: {match[0].strip()}'
        for name, source in MODULES.items()
        for match in odd.finditer(source)
    ]


def test_modules_say_what_they_are_for():
    assert not [
        name
        for name, source in MODULES.items()
        if not name.rpartition('.')[2].startswith('_')
        and not ast.get_docstring(ast.parse(source))
    ]


def imported(name):
    """Modules of mmst that run when this one is imported, by itself.

    Those inside of functions count too: they hide a circle, but do not undo
    it. Those for type checkers never run.
    """
    tree = ast.parse(MODULES[name])
    is_package = (ROOT / name.replace('.', '/')).is_dir()
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == 'TYPE_CHECKING'
        for inner in ast.walk(node)
    }
    package = name if is_package else name.rpartition('.')[0]
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.' * node.level + (node.module or '')
            base = resolve_name(base, package)
            for alias in node.names:
                # A module of that name, or what the base defines.
                child = f'{base}.{alias.name}'
                found.add(child if child in MODULES else base)
    return {
        module
        for full in found
        for module in accumulate(full.split('.'), '{}.{}'.format)
        # A package is there, if only half, once one of its modules runs.
        if module in MODULES and not f'{name}.'.startswith(f'{module}.')
    }


def test_no_module_is_hidden_by_a_name_in_its_package():
    for name in MODULES:
        module, (package, _, own) = import_module(name), name.rpartition('.')
        assert not package or getattr(import_module(package), own) is module


def test_no_import_circle():
    # A graph without edges would have none either.
    assert {'mmst.subnets', 'mmst.engine.batch'} < imported('mmst.engine.step')
    graph = {name: imported(name) for name in MODULES}
    # Take away what imports nothing that is left; a circle stays.
    while True:
        free = [name for name, needs in graph.items() if not needs]
        if not free:
            break
        for name in free:
            del graph[name]
        graph = {name: needs - set(free) for name, needs in graph.items()}
    assert not graph


def test_packages_import_those_below_them():
    packages = {path.parent.name for path in ROOT.glob('mmst/*/__init__.py')}
    assert packages == set(LAYERS)
    for name in MODULES:
        own, *_ = name.split('.')[1:] or ['']
        for other in imported(name):
            layer, *_ = other.split('.')[1:] or ['']
            if own in LAYERS and layer in LAYERS:
                assert LAYERS.index(layer) <= LAYERS.index(own), (name, other)
                assert {own, layer} != {'analysis', 'export'}, (name, other)


def test_subnets_are_free_of_openmmlab():
    for name, source in MODULES.items():
        if f'{name}.'.startswith('mmst.subnets.'):
            assert not re.search(
                r'^ *(from|import) mm(?!st\b)', source, re.M
            ), name
