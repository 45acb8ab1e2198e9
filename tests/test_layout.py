"""How the package is laid out: docstrings, who imports whom."""

import ast
import re
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


def modules(root):
    """Each module of a package: name, source, and whether it is a folder."""
    for path in sorted((root / 'mmst').rglob('*.py')):
        parts = path.relative_to(root).with_suffix('').parts
        is_package = parts[-1] == '__init__'
        name = '.'.join(parts[:-1] if is_package else parts)
        yield name, path.read_text(encoding='utf-8'), is_package


MODULES = {
    name: (source, is_package) for name, source, is_package in modules(ROOT)
}


def test_docstrings_and_comments_name_things():
    """An entry begins with a noun or a verb, not with a pronoun."""
    odd = re.compile(
        r'^ +(\w+: |# )(What|Those|Of|It|As|Likewise|See there)\b', re.M
    )
    assert not [
        f'{name}: {match[0].strip()}'
        for name, (source, _) in MODULES.items()
        for match in odd.finditer(source)
    ]


def test_modules_say_what_they_are_for():
    assert not [
        name
        for name, (source, _) in MODULES.items()
        if not name.rpartition('.')[2].startswith('_')
        and not ast.get_docstring(ast.parse(source))
    ]


def imported(name):
    """Modules of mmst that run when this one is imported, by itself.

    Those inside of functions count too: they hide a circle, but do not undo
    it. Those for type checkers never run.
    """
    source, is_package = MODULES[name]
    tree = ast.parse(source)
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
            base = node.module or ''
            if node.level:
                above = package.split('.')[: 1 - node.level or None]
                base = '.'.join([*above, base] if base else above)
            for alias in node.names:
                # A module of that name, or what the base defines.
                child = f'{base}.{alias.name}'
                found.add(child if child in MODULES else base)
    return {
        module
        for full in found
        for module in with_parents(full)
        # A package is there, if only half, once one of its modules runs.
        if module in MODULES and not f'{name}.'.startswith(f'{module}.')
    }


def with_parents(name):
    parts = name.split('.')
    return ['.'.join(parts[:n]) for n in range(1, len(parts) + 1)]


def test_no_module_is_hidden_by_a_name_in_its_package():
    for name, (source, is_package) in MODULES.items():
        if not is_package:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    assert f'{name}.{alias.asname or alias.name}' not in (
                        MODULES
                    ), (name, alias.name)


def test_no_import_circle():
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
    for name, (source, _) in MODULES.items():
        if f'{name}.'.startswith('mmst.subnets.'):
            assert not re.search(
                r'^ *(from|import) mm(?!st\b)', source, re.M
            ), name


def test_an_analysis_has_one_name():
    """Its tool and what that writes, and the module with its figure."""
    tools = {
        path.stem: path.read_text()
        for path in ROOT.glob('tools/analysis_tools/*.py')
        if f"run_analysis('{path.stem}'," in path.read_text()
    }
    assert 'loafing' in tools and len(tools) == 7
    for name in tools:
        source, _ = MODULES[f'mmst.analysis.{name}']
        assert re.search(r'^def draw_\w+\(', source, re.M), name


def test_graph_has_the_edges_that_are_there():
    """A graph without edges would have no circle either."""
    assert 'mmst.subnets' in imported('mmst.engine.step')
    assert 'mmst.engine.batch' in imported('mmst.engine.step')
    assert 'mmst.engine.step' in imported(
        'mmst.engine.hooks.subnet_sampler_hook'
    )
