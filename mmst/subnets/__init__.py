"""Subnets in plain PyTorch, independent of any trainer."""

from mmst.installation import check_packages

check_packages('torch')

# ruff: noqa: E402
from . import families  # noqa: F401  registers the finders
from .activation import activate, get_active_subnet
from .compilation import compile_blocks
from .cost import BackboneCost, count_flops, measure_cost
from .export import export_subnet
from .inputs import SubnetInputs, get_shorter_side, pad_inputs, resize_inputs
from .iteration_cost import count_pass_flops, predict_iteration_cost
from .kl_minus_loss import KLMinusLoss, kl_minus, normalize_logits
from .preserve import preserve_modes
from .sampling import InputSizes, SamplingSpace, SubnetSampler
from .shared_prefix import Pass, PassRunner
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
    'KLMinusLoss',
    'Pass',
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
