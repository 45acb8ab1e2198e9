"""The page of error messages explains existing messages, each once."""

import re

from tests.conftest import ROOT

from .raised_messages import normal, raised_messages

PAGE = (ROOT / 'docs/error_messages.md').read_text()
#: The beginnings of messages: a term of the page's definition lists each.
ENTRIES = [
    normal(entry)
    for _, entry in re.findall(r'^(`+)(.+?)\1\n: \S', PAGE, re.MULTILINE)
]


def test_each_entry_is_of_a_message_and_each_message_has_one_at_most():
    messages = set().union(
        *(raised_messages(ROOT / name) for name in ('mmst', 'tools', 'demo'))
    )
    explained = {
        message: [entry for entry in ENTRIES if message.startswith(entry)]
        for message in messages
    }
    assert [m for m, entries in explained.items() if len(entries) > 1] == []
    used = {entry for entries in explained.values() for entry in entries}
    assert [entry for entry in ENTRIES if entry not in used] == []
    assert len(ENTRIES) > 20


def test_messages_are_read_from_every_kind_of_source(tmp_path):
    (tmp_path / 'module.py').write_text(
        """
def reason(name):
    return f'{name} is not known here'


def lines():
    found = ['The first of several lines has words']
    return '\\n'.join(found)


def check(parser, value):
    if value:
        parser.error('give one of the two')
    if not value:
        raise TypeError(type(value).__name__)  # the caller's sentence has it
    try:
        raise ValueError(
            f'{value!r} is '
            f'{value + 1}{value} at ' + reason(value)
        )
    except ValueError:
        raise
    raise ValueError(lines())
"""
    )
    assert raised_messages(tmp_path) == {
        'give one of the two',
        '… is … at … is not known here',
        'The first of several lines has words',
    }
