"""Run stock config families with ST* on odd data (odd_scenes.py).

Outcomes are in resources/stock_configs.json, from which fill_tables.py writes
docs/stock_configs.md. Configs whose path contains a PART are run again, in
minutes each.

Usage: python .dev_scripts/stock_configs.py PART ...
"""

import copy
import importlib
import json
import re
import sys
import traceback
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

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
OUTCOMES = ROOT / 'resources/stock_configs.json'
#: A package that an outcome depends on, and the outcome.
NEEDS = re.compile('(?:needs `(.+?)`: )?(.+)')
SOURCES = str(Path(mmst.__file__).parent)
#: Changes that make models small, by the end of a key's path.
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
#: The path of a backbone, or of a part of it.
BACKBONE = re.compile(r'(backbone|image_encoder)(\.|$)')
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
    for part, key, _ in walk(model):
        value = part[key]
        if key == 'type' and value == 'MMSyncBN':
            part[key] = 'BN'  # the other asks other processes even if alone
        if key in ('pretrained', 'teacher_ckpt') or (
            key == 'init_cfg' and 'checkpoint' in str(value)
        ):
            part[key] = False if value is True else None
    teacher = model.get('teacher_config')
    if isinstance(teacher, str):  # from the toolbox's repository
        model.teacher_config = str(folder.parent / teacher)
    return cfg


def walk(cfg: Any, path: str = '') -> Iterator[Tuple[dict, str, str]]:
    """Iterate over a config's dicts, their keys, and the paths of these.

    A value that is replaced on the way is walked in the place of the old one.
    """
    if isinstance(cfg, (list, tuple)):
        for part in cfg:
            yield from walk(part, path)
    if isinstance(cfg, dict):
        for key in list(cfg):
            yield cfg, key, f'{path}.{key}'
            yield from walk(cfg[key], f'{path}.{key}')


def iter_backbones(model: dict) -> Iterator[dict]:
    """Iterate over the configs of backbones in one of a model."""
    for cfg, key, path in walk(model):
        found = BACKBONE.search(path)
        if found and found.end() == len(path):
            yield cfg[key]


def has_stages(toolbox: str, backbone: dict) -> bool:
    """Tell whether mmst finds stages in a backbone."""
    set_up(toolbox)
    try:
        return bool(find_stages(MODELS.build(backbone)))
    except TypeError as error:
        assert 'no residual stages found' in str(error)
        return False


def _shrink(model: dict) -> None:
    """Make depth, queries and proposals fewer."""
    for cfg, key, path in walk(model):
        for end, change in SMALL.items():
            is_meant = path.endswith('.' + end)
            if is_meant and isinstance(cfg[key], (int, list, tuple)):
                cfg[key] = change(cfg[key])


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
    for cfg, key, path in walk(model):
        if WIDTHS.match(key) and not BACKBONE.search(path):
            cfg[key] = _quarter(cfg[key])
    for backbone, widths in found:
        for key, default in widths.items():
            backbone[key] = backbone.get(key, default) // 4
    head = model.get('bbox_head', {})
    if re.match(r'.*(DETR|DINO)Head$', head.get('type', '')):
        head.embed_dims = 64  # which it knows of its own


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
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        refused = isinstance(error, (TypeError, ValueError))
        if refused and place.startswith(SOURCES):
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


def main(parts: Sequence[str]) -> None:
    """Run what is asked for again, and write the outcomes."""
    found = json.loads(OUTCOMES.read_text())
    for toolbox, configs in found['outcomes'].items():
        for config, outcome in configs.items():
            package, old = NEEDS.match(outcome).groups()
            is_asked = any(part in config for part in parts)
            if not is_asked or old.startswith('not run'):
                continue
            new = in_words(outcomes(toolbox, config))
            configs[config] = f'needs `{package}`: {new}' if package else new
            print(f'{config}: {configs[config]}', flush=True)
    OUTCOMES.write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
    main(sys.argv[1:])
