"""What a subnet is, in plain PyTorch: nothing here knows of a trainer."""

from . import families  # noqa: F401  registers the finders
from .activate import activate, active_subnet
from .cost import BackboneCost, iteration_cost, measure_cost
from .export import export_subnet
from .flops import counted_flops
from .inputs import SubnetInputs, pad_inputs, resize_inputs, shorter_side
from .kept_modes import kept_modes
from .space import InputSizes, SamplingSpace
from .stages import (
    Block,
    Stage,
    find_backbone,
    find_stages,
    register_stage_finder,
    unwrapped,
)
from .subnet import Path, Subnet
from .targets import Resizing, register_resizer, resize_samples

__all__ = [
    'BackboneCost',
    'Block',
    'InputSizes',
    'Path',
    'Resizing',
    'SamplingSpace',
    'Stage',
    'Subnet',
    'SubnetInputs',
    'activate',
    'active_subnet',
    'counted_flops',
    'export_subnet',
    'find_backbone',
    'find_stages',
    'iteration_cost',
    'kept_modes',
    'measure_cost',
    'pad_inputs',
    'register_resizer',
    'register_stage_finder',
    'resize_inputs',
    'resize_samples',
    'shorter_side',
    'unwrapped',
]
