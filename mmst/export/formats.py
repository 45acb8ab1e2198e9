"""Export to other runtimes, with PyTorch's own exporters."""

import copy
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any, Dict, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from mmst.evaluation import preprocess_unmixed
from mmst.subnets.cost import iter_tensors

from .outputs import are_same

#: The ending of each format's file.
FORMATS = dict(onnx='.onnx', torchscript='.torchscript.pt')


class _Network(nn.Module):
    """A model of MMEngine as a function of tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Union[Tensor, Tuple[Tensor, ...]]:
        outputs = tuple(iter_tensors(self.model(images, None, mode='tensor')))
        return outputs[0] if len(outputs) == 1 else outputs


class _OneImage(nn.Module):
    """A trace that holds for one image; refuses more."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor):  # type: ignore[no-untyped-def]
        if len(images) != 1:
            raise ValueError('this file takes one image at a time')
        return self.network(images)


def check_formats(kinds: Sequence[str]) -> None:
    """Refuse formats whose exporter is not installed."""
    if 'onnx' in kinds and find_spec('onnx') is None:
        raise ModuleNotFoundError(
            "PyTorch's ONNX exporter needs the package onnx: pip install onnx"
        )


@torch.no_grad()
def write_formats(
    kinds: Sequence[str], model: nn.Module, data: Dict[str, Any], stem: Path
) -> None:
    """Write a model in other formats, without its preprocessing.

    Each file takes images from the model's ``data_preprocessor``, normalised,
    (N, C, H, W), and returns the network's raw outputs. If the trace of one
    image does not hold for several, N is 1 and a message is printed.

    Args:
        kinds: Names of formats, of ``FORMATS``.
        model: The model.
        data: A training batch, whose first image is traced.
        stem: Path of the files, without ending.
    """
    if not kinds:
        return
    network = _Network(model).eval()
    image = preprocess_unmixed(model, copy.deepcopy(data))['inputs'][:1]
    other = image.flip(-1)  # shows constants that the trace must not have
    paths = {kind: Path(f'{stem}{FORMATS[kind]}') for kind in kinds}
    try:
        script = torch.jit.trace(network, image, check_trace=False)
        takes_more = _do_agree(script, network, torch.cat([image, other]))
        if not takes_more:
            script = torch.jit.script(_OneImage(script))
        if 'torchscript' in kinds:
            script.save(str(paths['torchscript']))
            script = torch.jit.load(str(paths['torchscript']))
        if 'onnx' in kinds:
            known = signature(torch.onnx.export).parameters
            torch.onnx.export(
                network,
                (image,),
                str(paths['onnx']),
                input_names=['images'],
                dynamic_axes={'images': {0: 'batch'}} if takes_more else None,
                # The exporter of all versions; newer ones have another too.
                **({'dynamo': False} if 'dynamo' in known else {}),
            )
    except Exception as error:
        raise ValueError(
            f'PyTorch cannot write {type(model).__name__} as '
            f'{" and ".join(kinds)}, so nothing was written: a model must map '
            'images to tensors, which two-stage detectors do not '
            f'({error})'
        ) from error
    if not _do_agree(script, network, other):
        raise ValueError(
            f'a trace of {type(model).__name__} holds for the traced image '
            'only, so nothing was written: leave out '
            + ' and '.join(f'--{kind}' for kind in kinds)
        )
    if not takes_more:
        names = ' and '.join(path.name for path in paths.values())
        print(f'Traced for one image at a time: {names}')


def _do_agree(script: nn.Module, network: nn.Module, images: Tensor) -> bool:
    """Whether a trace returns a network's outputs."""
    expected = list(iter_tensors(network(images)))
    try:
        actual = list(iter_tensors(script(images)))
    except Exception:  # any error in a trace
        return False
    return are_same(actual, expected)
