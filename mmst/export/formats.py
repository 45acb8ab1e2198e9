"""A model for other runtimes, by PyTorch's own exporters."""

import copy
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from mmst.subnets.cost import tensors_of

#: What a file of each kind is called, after the model's name.
FORMATS = dict(onnx='.onnx', torchscript='.torchscript.pt')


class _Network(nn.Module):
    """A model of MMEngine's kind as tensors in, tensors out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Union[Tensor, Tuple[Tensor, ...]]:
        outputs = tuple(tensors_of(self.model(images, None, mode='tensor')))
        return outputs[0] if len(outputs) == 1 else outputs


def check_formats(kinds: Sequence[str]) -> None:
    """Refuse formats whose exporter is not installed.

    Args:
        kinds: Any of :data:`FORMATS`.

    Raises:
        ModuleNotFoundError: If a package is missing.
    """
    if 'onnx' in kinds and find_spec('onnx') is None:
        raise ModuleNotFoundError(
            "PyTorch's ONNX exporter needs the package onnx: pip install onnx"
        )


@torch.no_grad()
def write_formats(
    kinds: Sequence[str], model: nn.Module, data: Dict[str, Any], stem: Path
) -> None:
    """Write what a model computes, from preprocessed images on.

    Each file takes images as the model's ``data_preprocessor`` gives them,
    normalised, (N, C, H, W), and gives the network's raw outputs.

    Args:
        kinds: Any of ``FORMATS``.
        model: The model.
        data: A batch, as a data loader gives it, to trace with.
        stem: Path of the files without their endings.

    Raises:
        ModuleNotFoundError: If a package is missing.
        ValueError: If the model cannot be traced.
    """
    check_formats(kinds)
    for kind in kinds:
        _write(kind, model, data, stem.with_name(stem.name + FORMATS[kind]))


def _write(
    kind: str, model: nn.Module, data: Dict[str, Any], path: Path
) -> None:
    network = _Network(model).eval()
    images = model.data_preprocessor(copy.deepcopy(data), False)['inputs']
    try:
        if kind == 'torchscript':
            torch.jit.trace(network, images).save(str(path))
        else:
            # The exporter that all versions have; later ones prefer another.
            own = (
                {'dynamo': False}
                if 'dynamo' in signature(torch.onnx.export).parameters
                else {}
            )
            torch.onnx.export(
                network,
                (images,),
                str(path),
                input_names=['images'],
                dynamic_axes=dict(images={0: 'batch'}),
                **own,
            )
    except Exception as error:
        raise ValueError(
            f'PyTorch cannot write {type(model).__name__} as {kind}, so that '
            'nothing was written: a model has to turn images into tensors by '
            f'itself, as two-stage detectors do not ({error})'
        ) from error
