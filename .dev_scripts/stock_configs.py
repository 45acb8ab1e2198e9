"""Write docs/stock_configs.md: how stock config families fare with ST*.

Each has odd data (odd_scenes.py). Outcomes are in
resources/stock_configs.json; configs whose path contains a PART are run
again first, in minutes each.

Usage: python .dev_scripts/stock_configs.py [PART ...]
"""

import copy
import importlib
import json
import re
import sys
import textwrap
import traceback
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from odd_scenes import CASES, MAIN, make_batch
from torch import nn

import mmst
from mmst.engine import st_step
from mmst.engine.batch import PassBatches
from mmst.subnets import Subnet, SubnetInputs, find_stages

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs/stock_configs.md'
OUTCOMES = ROOT / 'resources/stock_configs.json'
#: Why a family is in no row of the table.
WITHOUT = ('no residual backbone', 'no model that can be built')
#: A package that an outcome depends on, and the outcome.
NEEDS = re.compile('(?:needs `(.+?)`: )?(.+)')
SOURCES = str(Path(mmst.__file__).parent)
#: What makes models small: the end of a key's path -> what becomes of the
#: value.
SMALL: Dict[str, Any] = {
    'encoder.num_layers': lambda old: min(old, 2),
    'decoder.num_layers': lambda old: min(old, 2),
    'num_queries': lambda old: min(old, 20),
    'sos_token_num': lambda old: min(old, 20),
    'num_proposals': lambda old: min(old, 20),
    'num_points': lambda old: min(old, 1000),
    'num_groups': lambda old: min(old, 4),
    'rpn_proposal.max_per_img': lambda old: min(old, 50),
    'sampler.num': lambda old: min(old, 32),
    'data_preprocessor.size': lambda old: old and MAIN,
    'data_preprocessor.batch_augments': lambda old: None,  # pads to 1024 px
}
#: Widths of layers outside of backbones: a quarter of each.
WIDTHS = re.compile(r'(.*channels?|embed_dims|num_feats)$')
#: Types of backbones -> their widths, and what these are by default.
NARROW = {
    r'(ResNet(V1[bcd])?|ResNeXt|DetectoRS_ResNe.t|TridentResNet)$': dict(
        base_channels=64, stem_channels=64
    ),
    r'ResNeSt$': dict(base_channels=64, stem_channels=64),
    r'mmpretrain.ConvNeXt$': {},
    r'PyramidVisionTransformer$': dict(embed_dims=64),
    r'(Swin|MixVision|Vision)Transformer$': dict(embed_dims=0),
}


def config_folder(toolbox: str) -> Path:
    """Find where an installed toolbox has its configs."""
    package = Path(importlib.import_module(toolbox).__file__).parent
    return package / '.mim/configs'


def family_of(toolbox: str, config: str) -> str:
    """Find a config's family: its folder, in mmpose with the task's."""
    return '/'.join(config.split('/')[: 2 if toolbox == 'mmpose' else 1])


def families(toolbox: str) -> Dict[str, List[str]]:
    """List each family of the installed toolbox and its configs."""
    folder = config_folder(toolbox)
    found: Dict[str, List[str]] = {}
    for path in sorted(folder.rglob('*.py')):
        config = path.relative_to(folder).as_posix()
        if not config.startswith('_base_/'):
            found.setdefault(family_of(toolbox, config), []).append(config)
    return found


def set_up(toolbox: str) -> None:
    """Make a toolbox's parts known under their names."""
    init_default_scope(toolbox)
    importlib.import_module(f'{toolbox}.utils').register_all_modules(True)
    hub = MessageHub.get_current_instance()
    hub.update_info('epoch', 0)  # a head's phase
    hub.update_info('iter', 0)  # and warm-up


def load(toolbox: str, config: str) -> Config:
    """Load a stock config; nothing that it builds asks for weights."""
    folder = config_folder(toolbox)
    cfg = Config.fromfile(folder / config)
    model = cfg.get('model', {})
    _without_weights(model)
    teacher = model.get('teacher_config')
    if isinstance(teacher, str):  # from the toolbox's repository
        model.teacher_config = str(folder.parent / teacher)
    return cfg


def _without_weights(cfg: Any) -> None:
    if isinstance(cfg, (list, tuple)):
        for part in cfg:
            _without_weights(part)
    if not isinstance(cfg, dict):
        return
    if cfg.get('type') == 'MMSyncBN':  # asks other processes even if alone
        cfg['type'] = 'BN'
    for key, value in cfg.items():
        if key in ('pretrained', 'teacher_ckpt') or (
            key == 'init_cfg' and 'checkpoint' in str(value)
        ):
            cfg[key] = False if value is True else None
        else:
            _without_weights(value)


def iter_backbones(cfg: Any) -> Iterator[dict]:
    """Iterate over the configs of backbones in one of a model."""
    if isinstance(cfg, (list, tuple)):
        for part in cfg:
            yield from iter_backbones(part)
    if isinstance(cfg, dict):
        for key, value in cfg.items():
            if key.endswith(('backbone', 'image_encoder')):
                yield value
            else:
                yield from iter_backbones(value)


def has_stages(toolbox: str, backbone: dict) -> bool:
    """Tell whether mmst finds stages in a backbone."""
    set_up(toolbox)
    try:
        return bool(find_stages(MODELS.build(backbone)))
    except TypeError as error:
        assert 'no residual stages found' in str(error)
        return False


def _shrink(cfg: Any, path: str = '') -> None:
    if isinstance(cfg, (list, tuple)):
        for part in cfg:
            _shrink(part, path)
    if not isinstance(cfg, dict):
        return
    for key, value in cfg.items():
        here = f'{path}.{key}'
        change = next(
            (f for end, f in SMALL.items() if here.endswith('.' + end)), None
        )
        if change is not None and isinstance(value, (int, list, tuple)):
            cfg[key] = change(value)
        else:
            _shrink(value, here)


def _narrow(model: dict) -> None:
    """Make all layers a quarter as wide, if that is known of its backbones."""
    found = []
    for backbone in iter_backbones(model):
        widths = [w for t, w in NARROW.items() if re.match(t, backbone.type)]
        if not widths:
            return
        found.append((backbone, widths[0]))
        if 'arch' in backbone:  # ConvNeXt has its widths there
            backbone.arch = dict(
                depths=[2, 2, 2, 2], channels=[24, 48, 96, 192]
            )
    _narrow_heads(model)
    for backbone, widths in found:
        for key, default in widths.items():
            backbone[key] = backbone.get(key, default) // 4
    head = model.get('bbox_head', {})
    if re.match(r'.*(DETR|DINO)Head$', head.get('type', '')):
        head.embed_dims = 64  # which it knows of its own


def _narrow_heads(cfg: Any) -> None:
    if isinstance(cfg, (list, tuple)):
        for part in cfg:
            _narrow_heads(part)
    if not isinstance(cfg, dict):
        return
    for key, value in cfg.items():
        if WIDTHS.match(key):
            cfg[key] = _quarter(value)
        elif not key.endswith(('backbone', 'image_encoder')):
            _narrow_heads(value)


def _quarter(width: Any) -> Any:
    if isinstance(width, (list, tuple)):
        return type(width)(map(_quarter, width))
    return width // 4 if isinstance(width, int) and width >= 32 else width


def build(cfg: Config, narrow: bool) -> nn.Module:
    """Build the stock model, made small, with random weights, for training."""
    cfg = copy.deepcopy(cfg)
    _shrink(cfg.model)
    if narrow:
        _narrow(cfg.model)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    model.train()  # of some it returns nothing
    return model


def outcome_of(model: nn.Module, batch: dict) -> str:
    """Take an ST* iteration on a batch and say how it went.

    Refused by mmst in words, or plain training fails too. Any other error is
    what the page is there to find, and is raised; st_step itself refuses
    losses that are not finite.
    """
    plain, subnet = copy.deepcopy(model), None
    try:
        blocks = [len(stage) for stage in find_stages(model)]
        subnet = Subnet.ordered([1] * len(blocks), blocks, size=0.5)
        optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
        wrapper = OptimWrapper(optimizer)
        st_step(model, copy.deepcopy(batch), wrapper, [subnet])
    except Exception as error:
        places = [
            frame.filename
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.endswith('subnet_errors.py')
        ]
        if isinstance(error, (TypeError, ValueError)) and places[
            -1
        ].startswith(SOURCES):
            return 'refused: ' + first_words(str(error))
        failure = subnet and plain_failure(plain, batch, subnet)
        if not failure:
            raise
        return f'plain training fails too{failure}'
    return 'trains'


def first_words(message: str) -> str:
    """Find the first words of a refusal, without those that say where."""
    message = re.sub(r'^subnet \d+ \(.*?\): ', '', ' '.join(message.split()))
    return re.split(r'(?:[:.]|, but|, which) ', message)[0]


def plain_failure(
    model: nn.Module, batch: dict, subnet: Optional[Subnet] = None
) -> Optional[str]:
    """Say how the whole model fails on images, or on them at half size."""
    sizes = [('', None), (' at half the size', subnet)]
    for words, size in sizes:
        try:
            data = model.data_preprocessor(copy.deepcopy(batch), True)
            if size is not None:
                data = PassBatches(data, SubnetInputs(), model).make(size)
            losses = model._run_forward(data, mode='loss')
            model.parse_losses(losses)[0].backward()
        except Exception as error:
            told = ' '.join(str(error).split())[:50] or type(error).__name__
            return f'{words} (`{told}`)'
    return None


def outcomes(toolbox: str, config: str) -> Dict[str, str]:
    """Find a config's outcome in each case."""
    set_up(toolbox)
    cfg = load(toolbox, config)
    usual = make_batch(toolbox, cfg, 'usual')
    try:
        model = build(cfg, narrow=True)
        fails = plain_failure(copy.deepcopy(model), usual)
    except Exception:
        fails = 'when built'
    if fails:  # for a layer with a width of its own, or whatever the width
        model = build(cfg, narrow=False)
    return {
        # A copy: a step on odd data may leave weights that no case is of.
        case: outcome_of(copy.deepcopy(model), make_batch(toolbox, cfg, case))
        for case in CASES
    }


def in_words(found: Dict[str, str]) -> str:
    """Format one cell of the table: the cases by outcome."""
    cases: Dict[str, List[str]] = {}
    for case, outcome in found.items():
        cases.setdefault(outcome, []).append(case)
    if len(cases) == 1:
        return next(iter(cases))
    return '; '.join(
        f'{", ".join(names)}: {outcome}' for outcome, names in cases.items()
    )


def read_outcomes() -> dict:
    """Read the outcome of each config, and the families without one."""
    return json.loads(OUTCOMES.read_text())


def run_again(found: dict, parts: Sequence[str]) -> None:
    """Run the configs whose path contains one of the parts."""
    for toolbox, configs in found['outcomes'].items():
        for config, outcome in configs.items():
            package, old = NEEDS.match(outcome).groups()
            is_asked = any(part in config for part in parts)
            if not is_asked or old.startswith('not run'):
                continue
            new = in_words(outcomes(toolbox, config))
            configs[config] = f'needs `{package}`: {new}' if package else new
            print(f'{config}: {configs[config]}', flush=True)


def fill(page: str, found: dict) -> str:
    """Fill the table and the lists of the page, between their comments."""
    table = ['| toolbox | config | outcome |', '| --- | --- | --- |']
    table += [
        f'| {toolbox} | `{config}` | {outcome} |'
        for toolbox, configs in found['outcomes'].items()
        for config, outcome in configs.items()
    ]
    blocks = {'outcomes': '\n'.join(table)}
    for reason in WITHOUT:
        blocks[reason] = '\n'.join(
            textwrap.fill(
                f'- {toolbox}: ' + ', '.join(f'`{n}`' for n in names) + '.',
                88,
                subsequent_indent='  ',
                break_on_hyphens=False,
                break_long_words=False,
            )
            for toolbox, names in found[reason].items()
        )
    for name, block in blocks.items():
        begin, end = f'<!-- {name} -->\n', '<!-- end -->'
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f'{before}{begin}\n{block}\n\n{end}{after}'
    return page


def main(parts: Sequence[str]) -> None:
    """Run what is asked for, and write the page."""
    found = read_outcomes()
    run_again(found, parts)
    OUTCOMES.write_text(json.dumps(found, indent=1) + '\n')
    PAGE.write_text(fill(PAGE.read_text(), found))


if __name__ == '__main__':
    main(sys.argv[1:])
