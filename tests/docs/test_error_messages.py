"""The page of error messages explains existing messages, each once."""

import ast
import re
from typing import Iterator

from tests.conftest import ROOT

PAGE = (ROOT / 'docs/error_messages.md').read_text()
#: Stands for what is only known when the error is raised.
VALUE = '…'
#: The beginnings of messages: an item of a list of the page explains each.
ENTRIES = [
    entry for _, entry in re.findall(r'^- (`+)(.+?)\1: ', PAGE, re.MULTILINE)
]


def texts(source: str) -> Iterator[str]:
    """All strings of a module, with one sign for values in a row."""
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = ''.join(
            getattr(part, 'value', '')
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
            else VALUE
            for part in parts
        )
        yield re.sub(f'{VALUE}+', VALUE, ' '.join(text.split()))


def test_each_entry_is_of_a_message_and_each_message_has_one_at_most():
    messages = {
        text
        for folder in ('mmst', 'tools', 'demo')
        for path in (ROOT / folder).rglob('*.py')
        for text in texts(path.read_text())
    }
    explained = {
        entry: {text for text in messages if text.startswith(entry)}
        for entry in ENTRIES
    }
    assert [entry for entry in ENTRIES if not explained[entry]] == []
    assert len(set().union(*explained.values())) == sum(
        map(len, explained.values())
    )
    assert len(ENTRIES) > 20
