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


@pytest.mark.parametrize('batch_size', [1, 4])
@pytest.mark.parametrize('kind', FORMATS)
def test_convolutions_take_any_number_of_images(
    export, capsys, kind, batch_size
):
    if kind == 'onnx':
        pytest.importorskip('onnx', reason="PyTorch's exporter needs it")
    in_place, out = export(CNN, [kind], batch_size)
    for num_images in (1, 3):
        assert_same(kind, out, in_place, num_images)
    assert 'one image at a time' not in capsys.readouterr().out
    if kind == 'onnx':
        assert declared_batch(out) == 'batch'


@pytest.mark.parametrize('network', [SWIN, RESHAPED], ids=['swin', 'reshaped'])
@pytest.mark.parametrize('kind', FORMATS)
def test_fixed_batch_is_of_one_image(export, capsys, network, kind):
    if kind == 'onnx':
        pytest.importorskip('onnx', reason="PyTorch's exporter needs it")
    in_place, out = export(network, [kind])
    assert_same(kind, out, in_place, 1)
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if 'one image at a time' in line] == [
        f'Traced for one image at a time: n{FORMATS[kind]}'
    ]
    if kind == 'onnx':
        assert declared_batch(out) == 1
    else:
        with pytest.raises(torch.jit.Error, match='takes one image at a time'):
            run(kind, out, torch.randn(2, 3, 16, 16))


def test_both_files_at_once(export, capsys):
    pytest.importorskip('onnx', reason="PyTorch's exporter needs it")
    in_place, out = export(SWIN, [*FORMATS])
    assert sorted(path.name for path in out.glob('n.*')) == [
        'n.onnx',
        'n.pth',
        'n.py',
        'n.torchscript.pt',
    ]
    for kind in FORMATS:
        assert_same(kind, out, in_place, 1)
    assert 'n.onnx and n.torchscript.pt\n' in capsys.readouterr().out
