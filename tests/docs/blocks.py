"""The snippets of all pages: fenced blocks, and commands within the text."""

import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import List, NamedTuple, Tuple

from mmengine.config import Config
from mmengine.registry import HOOKS, LOOPS
from torch.utils.data import DataLoader

from mmst.subnets import SubnetSampler
from tests.conftest import ROOT

DOCS = sorted((ROOT / 'docs').rglob('*.md'))
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    *sorted((ROOT / 'configs').rglob('*.md')),
    *(page for page in DOCS if '_build' not in page.parts),
]
FENCE = re.compile(r'^( *)```([^\n]*)\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
#: Beginnings of code spans that are commands.
COMMAND = re.compile(r'(?:[A-Z_]+=\S+ )*(?:python |bash |pip |tools/\S+\.sh )')


class Block(NamedTuple):
    """A fenced block of a page, which is named from the repository's root."""

    page: str
    language: str
    code: str


def blocks_of(page: Path) -> List[Block]:
    """All fenced blocks of a page, those in lists too."""
    name = str(page.relative_to(ROOT))
    return [
        Block(name, language.strip(), textwrap.dedent(code))
        for _, language, code in FENCE.findall(page.read_text())
    ]


def python_blocks(page: Path) -> List[str]:
    """The code of a page's Python blocks."""
    return [b.code for b in blocks_of(page) if b.language == 'python']


def commands_of(page: Path) -> List[str]:
    """All commands of a page, in order: of shell blocks, and code spans."""
    lines = [
        line
        for block in blocks_of(page)
        if block.language == 'shell'
        for line in block.code.replace('\\\n', ' ').splitlines()
        if line and not line.startswith('#')
    ]
    text = FENCE.sub('', page.read_text())
    spans = [' '.join(s.split()) for s in re.findall(r'`([^`]+)`', text)]
    return lines + [span for span in spans if COMMAND.match(span)]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
#: Files that run as they are, by name; a page shows each of them whole.
FILES = {
    path.name: path.read_text() for path in (ROOT / 'docs/how_to').glob('*.py')
}


def build_loop_and_sampler(cfg: Config) -> Tuple[object, SubnetSampler]:
    """The train loop of a config, without its data, and its sampler."""
    runner = SimpleNamespace(hooks=[])
    options = dict(runner=runner, dataloader=DataLoader([0]))
    loop = LOOPS.build(dict(cfg.train_cfg), default_args=options)
    return loop, HOOKS.build(cfg.custom_hooks[-1]).sampler
