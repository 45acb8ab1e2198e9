"""Files for other runtimes compute what the subnet in place does."""

import pytest
import torch
from mmpretrain.models import GlobalAveragePooling
from mmpretrain.registry import MODELS

from mmst.evaluation import run_as_subnet
from mmst.export import FORMATS
from tests.conftest import classifier
from tests.export.conftest import export, stock

CNN = classifier(), (2, 1, 3)
# Its trace takes the windows of several images for those of one.
SWIN_BACKBONE = dict(
    type='SwinTransformer',
    arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]),
    img_size=16,
    window_size=2,
    pad_small_map=True,
)
SWIN = stock(SWIN_BACKBONE, 64), (2, 1, 2, 1)


@MODELS.register_module()
class FixedBatch(GlobalAveragePooling):
    """A trace of it raises an error at another batch size."""

    def forward(self, inputs):
        return tuple(
            x.view(int(x.shape[0]), x.shape[1])
            for x in super().forward(inputs)
        )


RESHAPED = dict(classifier(), neck=dict(type='FixedBatch')), (2, 1, 3)


def run(kind, out, images):
    """The outputs of a file."""
    path = out / f'n{FORMATS[kind]}'
    if kind == 'torchscript':
        with torch.no_grad():
            return torch.jit.load(str(path))(images)
    from onnx.reference import ReferenceEvaluator

    (outputs,) = ReferenceEvaluator(str(path)).run(
        None, dict(images=images.numpy())
    )
    return torch.from_numpy(outputs)


def declared_batch(out):
    """The first dimension of an ONNX file's input: a name or a number."""
    import onnx

    (images,) = onnx.load(str(out / 'n.onnx')).graph.input
    first = images.type.tensor_type.shape.dim[0]
    return first.dim_param or first.dim_value


ONNX, SCRIPT = FORMATS


@pytest.mark.parametrize(
    'network, batch_size, kinds',
    [
        (CNN, 4, [SCRIPT]),
        (CNN, 1, [ONNX]),
        (RESHAPED, 4, [ONNX, SCRIPT]),
        (SWIN, 4, [SCRIPT]),
        pytest.param(CNN, 1, [SCRIPT], marks=pytest.mark.slow),
        pytest.param(CNN, 4, [ONNX], marks=pytest.mark.slow),
        pytest.param(SWIN, 4, [ONNX, SCRIPT], marks=pytest.mark.slow),
    ],
)
def test_files_compute_what_the_subnet_does(
    make_runner, tmp_path, capsys, network, batch_size, kinds
):
    """For any number of images; one by one, if their trace holds for one."""
    if ONNX in kinds:
        pytest.importorskip('onnx', reason="PyTorch's exporter needs it")
    model, depths = network
    runner, out = make_runner(model), tmp_path / 'out'
    runner.train_dataloader.batch_sampler.batch_size = batch_size
    export(runner, out, depths, formats=kinds)
    takes_more = network is CNN
    runner.model.eval()
    for num_images in (1, 3) if takes_more else (1,):
        images = torch.randn(num_images, 3, 16, 16)
        with torch.no_grad(), run_as_subnet(runner, depths, 4):
            expected = runner.model(images)
        for kind in kinds:
            tolerance = 1e-6 if kind == SCRIPT else 1e-5
            torch.testing.assert_close(
                *(run(kind, out, images), expected),
                **dict(rtol=tolerance, atol=tolerance),
            )
    names = ' and '.join(f'n{FORMATS[kind]}' for kind in kinds)
    told = f'Traced for one image at a time: {names}\n'
    assert (told in capsys.readouterr().out) is not takes_more
    if ONNX in kinds:
        assert declared_batch(out) == ('batch' if takes_more else 1)
    elif not takes_more:
        with pytest.raises(torch.jit.Error, match='takes one image at a time'):
            run(SCRIPT, out, torch.randn(2, 3, 16, 16))
