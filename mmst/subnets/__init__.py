"""Subnets in plain PyTorch, independent of any trainer."""

from importlib import import_module
from typing import Any

from . import families  # noqa: F401  registers the finders
from .activate import activate, get_active_subnet
from .compile_blocks import compile_blocks
from .cost import BackboneCost, measure_cost
from .export import export_subnet
from .flops import count_flops
from .input_sizes import InputSizes
from .inputs import SubnetInputs, get_shorter_side, pad_inputs, resize_inputs
from .iteration_cost import count_pass_flops, predict_iteration_cost
from .kl_minus import kl_minus, normalize_logits
from .preserve_modes import preserve_modes
from .sampler import SubnetSampler
from .shared_prefix import PassRunner
from .space import SamplingSpace
from .stages import (
    Block,
    Stage,
    find_backbone,
    find_stages,
    register_stage_finder,
    unwrap_model,
)
from .subnet import Path, Subnet

__all__ = [
    'BackboneCost',
    'Block',
    'InputSizes',
    'PassRunner',
    'Path',
    'SamplingSpace',
    'Stage',
    'Subnet',
    'SubnetInputs',
    'SubnetSampler',
    'activate',
    'get_active_subnet',
    'compile_blocks',
    'count_flops',
    'count_pass_flops',
    'export_subnet',
    'find_backbone',
    'find_stages',
    'predict_iteration_cost',
    'kl_minus',
    'measure_cost',
    'normalize_logits',
    'pad_inputs',
    'preserve_modes',
    'register_stage_finder',
    'resize_inputs',
    'get_shorter_side',
    'unwrap_model',
]


def __getattr__(name: str) -> Any:
    # Their names before `mmst.targets` was there, which need MMEngine: this
    # package knows of them only if somebody asks.
    if name in ('Resizing', 'resize_samples'):
        return getattr(import_module('mmst.targets'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
