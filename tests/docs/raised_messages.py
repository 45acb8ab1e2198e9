"""What the code says when it refuses something, read from its source."""

import ast
from pathlib import Path
from typing import Dict, Iterator, Set

Functions = Dict[str, ast.FunctionDef]
#: Stands for what is only known when the error is raised.
VALUE = '…'


def raised_messages(folder: Path) -> Set[str]:
    """Every message of a ``raise`` or a parser's ``error`` below a folder.

    Values are left out. What is no message by itself, such as a name that a
    caller puts into a sentence, is left out too.
    """
    return {
        message
        for path in folder.rglob('*.py')
        for message in _messages(ast.parse(path.read_text()))
    }


def normal(message: str) -> str:
    """A message with single spaces, and one sign for values in a row."""
    message = ' '.join(message.split())
    while VALUE * 2 in message:
        message = message.replace(VALUE * 2, VALUE)
    return message


def _messages(tree: ast.Module) -> Iterator[str]:
    functions = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            call = node.exc
        elif isinstance(node, ast.Call) and _is_parser_error(node):
            call = node
        else:
            continue
        if not isinstance(call, ast.Call) or not call.args:
            continue
        message = normal(_text(call.args[0], functions))
        if _words(message) >= 2:
            yield message
        else:  # made of lines, by a function
            for line in _lines(call.args[0], functions):
                if _words(line) >= 4:
                    yield line


def _is_parser_error(call: ast.Call) -> bool:
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == 'error'
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == 'parser'
    )


def _text(node: ast.expr, functions: Functions) -> str:
    """A string expression, with VALUE for what it is filled with."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, functions)
    if isinstance(node, ast.JoinedStr):
        return ''.join(_text(value, functions) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return ''.join(
            _text(side, functions) for side in (node.left, node.right)
        )
    function = _called(node, functions)
    if function is not None and isinstance(function.body[-1], ast.Return):
        return _text(function.body[-1].value, functions)
    return VALUE


def _lines(node: ast.AST, functions: Functions) -> Iterator[str]:
    """The strings of a function that puts its message together."""
    function = _called(node, functions)
    for part in ast.iter_child_nodes(function or node):
        if isinstance(part, (ast.Constant, ast.JoinedStr)):
            yield normal(_text(part, functions))
        elif function is not None or not isinstance(node, ast.Call):
            yield from _lines(part, {})


def _called(node: ast.expr, functions: Functions):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return functions.get(node.func.id)
    return None


def _words(message: str) -> int:
    return sum(any(c.isalpha() for c in word) for word in message.split())
