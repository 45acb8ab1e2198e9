"""Files for other runtimes compute what the subnet in place does."""

import pytest
import torch
from mmpretrain.models import GlobalAveragePooling
from mmpretrain.registry import MODELS

from mmst.evaluation import run_as_subnet
from mmst.export import FORMATS, write_standalone
from tests.conftest import classifier
from tests.export.conftest import stock

CNN = classifier(), (2, 1, 3)
# Its trace takes the windows of several images for those of one.
SWIN = (
    stock(
        dict(
            type='SwinTransformer',
            arch=dict(
                embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]
            ),
            img_size=16,
            window_size=2,
            pad_small_map=True,
        ),
        64,
    ),
    (2, 1, 2, 1),
)


@MODELS.register_module()
class FixedBatch(GlobalAveragePooling):
    """A trace of it raises an error at another batch size."""

    def forward(self, inputs):
        return tuple(
            x.view(int(x.shape[0]), x.shape[1])
            for x in super().forward(inputs)
        )


RESHAPED = dict(classifier(), neck=dict(type='FixedBatch')), (2, 1, 3)


@pytest.fixture
def export(make_runner, tmp_path):
    """Write a subnet; give the model with it in place, and the folder."""

    def export(network, kinds, batch_size=4):
        model, depths = network
        runner = make_runner(model)
        runner.train_dataloader.batch_sampler.batch_size = batch_size
        out = tmp_path / 'out'
        write_standalone(runner, runner.cfg, depths, out, 'n', 4, None, kinds)

        @torch.no_grad()
        def in_place(images):
            runner.model.eval()
            with run_as_subnet(runner, depths, 4):
                return runner.model(images)

        return in_place, out

    return export


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


def assert_same(kind, out, in_place, num_images):
    images = torch.randn(num_images, 3, 16, 16)
    tolerance = 1e-6 if kind == 'torchscript' else 1e-5
    torch.testing.assert_close(
        run(kind, out, images),
        in_place(images),
        rtol=tolerance,
        atol=tolerance,
    )


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
    export, capsys, network, batch_size, kinds
):
    """For any number of images; one by one, if their trace holds for one."""
    if ONNX in kinds:
        pytest.importorskip('onnx', reason="PyTorch's exporter needs it")
    in_place, out = export(network, kinds, batch_size)
    takes_more = network is CNN
    for kind in kinds:
        for num_images in (1, 3) if takes_more else (1,):
            assert_same(kind, out, in_place, num_images)
    names = ' and '.join(f'n{FORMATS[kind]}' for kind in kinds)
    told = f'Traced for one image at a time: {names}\n'
    assert (told in capsys.readouterr().out) is not takes_more
    if ONNX in kinds:
        assert declared_batch(out) == ('batch' if takes_more else 1)
    elif not takes_more:
        with pytest.raises(torch.jit.Error, match='takes one image at a time'):
            run(SCRIPT, out, torch.randn(2, 3, 16, 16))
