"""From a trained checkpoint to a family of subnets to one of them alone."""

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmst.analysis.accuracy_cost import MeasuredNetwork, format_family_table
from tests.conftest import load_run, run_alone, write_images
from tests.environments import run_process
from tests.export.conftest import STOCK

CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=['mmst'], allow_failed_imports=False)
plain_head = {{{{_base_.model.head}}}}
model = dict(head=dict(_delete_=True, type='mmst.STClsHead', head=plain_head,
                       loss_kl=dict(type='mmst.KLMinusLoss', normalize=None)))
train_cfg = dict(_delete_=True, type='mmst.STEpochBasedTrainLoop',
                 max_epochs=1)
custom_hooks = [dict(type='mmst.SubnetSamplerHook', space=[2, 1, 2, 1])]
data_root = {data_root!r}
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
"""
SUBNETS = [[1, 2, 1, 2], [1, 2, 2, 2], [2, 2, 1, 2], [2, 2, 2, 2]]


@pytest.fixture(scope='module')
def export(load_tool):
    return run_alone(load_tool('tools/export_subnet').main)


@pytest.fixture(scope='module')
def st_config(config, tmp_path_factory) -> str:
    """A config of ST, on 40 images of two classes."""
    root = tmp_path_factory.mktemp('export')
    names = [f'{label}/{label}{i}.png' for label in 'ab' for i in range(20)]
    write_images(root / 'images/train', names)
    path = root / 'st.py'
    path.write_text(CONFIG.format(base=config, data_root=str(root / 'images')))
    return str(path)


@pytest.fixture(scope='module')
def run(st_config, trained):
    return [st_config, trained / 'epoch_1.pth']


@pytest.fixture(scope='module')
def family(load_tool, run, tmp_path_factory) -> Path:
    """What the tool measures of all subnets."""
    out = tmp_path_factory.mktemp('family') / 'out'
    with redirect_stdout(io.StringIO()) as printed:
        run_alone(load_tool('tools/analysis_tools/accuracy_cost').main)(
            [*run, '--out', out, '--num-samples', '40', '--seconds', '0']
            + ['--sizes', '16']
        )
    (out / 'printed').write_text(printed.getvalue())
    return out


def conv_and_linear(depths, size):
    """FLOPs and parameters of ResNet_CIFAR-18 with 8 channels."""
    flops, params = 3 * 8 * 9 * size**2, 3 * 8 * 9 + 16
    width = 8
    for stage, depth in enumerate(depths):
        channels = 8 * 2**stage
        side = size // 2**stage
        for block in range(depth):
            first = width if block == 0 else channels
            convs = [first * channels * 9, channels * channels * 9]
            if first != channels:
                convs.append(first * channels)
            flops += sum(convs) * side * side
            params += sum(convs) + len(convs) * 2 * channels
        width = channels
    return flops + 2 * width, params + 2 * width + 2


def read_family(folder):
    return json.loads((folder / 'accuracy_cost.json').read_text())


def test_family_is_measured(family):
    written = read_family(family)
    assert written['metric'] == 'accuracy/top1'
    assert written['rule'] == 'greater'
    networks = {(*n['depths'], n['size']): n for n in written['networks']}
    assert networks.keys() == {
        (*depths, size) for depths in SUBNETS for size in (None, 16)
    }
    for (*depths, size), network in networks.items():
        flops, params = conv_and_linear(depths, size or 32)
        assert (network['flops'], network['params']) == (flops, params)
        assert network['latency'] > 0
    measured = [
        MeasuredNetwork(**dict(network, depths=tuple(network['depths'])))
        for network in written['networks']
    ]
    table = format_family_table(measured, 'accuracy/top1 (%)')
    assert '1-2-1-2 at 16 px' in table
    told = f'Time on cpu, {torch.get_num_threads()} threads\n{table}\n'
    assert (family / 'printed').read_text().endswith(told)


@pytest.mark.parametrize(
    'cost', ['flops', pytest.param('latency', marks=pytest.mark.slow)]
)
def test_exported_subnet_tests_as_it_was_measured(
    export, run, family, tmp_path, capsys, cost
):
    """Chosen by what it costs, then tested by the stock toolbox alone."""
    networks = read_family(family)['networks']
    if cost == 'flops':  # at the full size
        networks = [n for n in networks if n['size'] is None]
    chosen = min(networks, key=lambda n: n[cost])
    file = tmp_path / 'evaluated.json'
    evaluated = dict(metric='accuracy/top1', networks=networks)
    file.write_text(json.dumps(evaluated))
    export(
        [*run, '--evaluated', file, f'--max-{cost}', str(chosen[cost])]
        + ['--out', tmp_path / 'out', '--num-samples', '40']
        + ['--torchscript']
    )
    depths = '-'.join(map(str, chosen['depths']))
    name = f'st_{depths}'
    if chosen['size']:
        name, depths = f'{name}_16px', f'{depths} at 16 px'
    files = sorted(path.name for path in (tmp_path / 'out').iterdir())
    backbone = f'backbone_{name.replace("-", "_")}.py'
    endings = ('.pth', '.py', '.torchscript.pt')
    assert files == [backbone, *(f'{name}{ending}' for ending in endings)]
    told = (
        f'{depths}: accuracy/top1 (%) {chosen["score"]:.4g}, '
        f'{chosen["flops"] / 1e6:.4g} M FLOPs, '
        f'{chosen["params"] / 1e6:.4g} M parameters, '
        f'{chosen["latency"]:.4g} ms'
    )
    printed = capsys.readouterr().out
    assert f'Chosen: {told}' in printed and ', '.join(files) in printed
    config = tmp_path / 'out' / f'{name}.py'
    assert f'\n# {told}\n' in config.read_text()
    loader = Config.fromfile(str(config)).test_dataloader
    resizes = [s.scale for s in loader.dataset.pipeline if s.type == 'Resize']
    assert resizes == ([(1600, 16)] if chosen['size'] else [])
    weights = torch.load(tmp_path / 'out' / f'{name}.pth')
    assert list(weights['meta']['dataset_meta']['classes']) == ['a', 'b']
    command = [sys.executable, STOCK, 'test', tmp_path / 'out']
    output = run_process(*command, cwd=tmp_path)
    metrics = json.loads(output.strip().splitlines()[-1])
    assert metrics['accuracy/top1'] == pytest.approx(chosen['score'])


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--max-latency', '0'], 'at most 0 time for one image'),
        (['--max-params', '1e-6'], 'at most 1e-06 parameters'),
        (['--min-accuracy', '101'], 'a score of at least 101'),
    ],
)
def test_budget_that_nothing_meets(export, run, family, flags, message):
    file = str(family / 'accuracy_cost.json')
    with pytest.raises(ValueError, match=f'{message}.*The nearest is .* ms$'):
        export([*run, '--evaluated', file, *flags])


def test_smallest_error_is_chosen(load_tool, tmp_path):
    """By the metric's name, by what the file says, and by the flag."""
    tool = load_tool('tools/export_subnet')
    networks = [
        dict(depths=[k], score=1 / k, flops=k, params=k, latency=k)
        for k in (1, 2, 3)
    ]
    file = tmp_path / 'a.json'
    args = ['c', 'k', '--evaluated', str(file), '--max-flops', '2']
    for metric, rule, flags, best in (
        ('NME', None, [], 2),
        ('mine', 'less', [], 2),
        ('mine', None, ['--rule', 'less'], 2),
        ('NME', 'less', ['--rule', 'greater'], 1),
    ):
        said = dict(rule=rule) if rule else {}
        written = dict(metric=metric, networks=networks, **said)
        file.write_text(json.dumps(written))
        network, _ = tool.choose_network(tool.parse_args([*args, *flags]))
        assert network.depths == (best,)


def test_given_depths(export, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [*run, '--depths', '2-2-1-2', '--num-samples', '40']
    export(given)
    out = tmp_path / 'work_dirs' / 'exported' / 'st_2-2-1-2'
    weights = torch.load(out / 'st_2-2-1-2.pth')['state_dict']
    trained = load_run(run[1])['state_dict']
    assert weights.keys() == {key for key in trained if 'layer3.1' not in key}
    for key, value in weights.items():
        if 'running' not in key and 'tracked' not in key:
            assert torch.equal(value, trained[key]), key
    assert list(tmp_path.rglob('work_dirs/*/*')) == [out]
    # A second time the folder is there.
    with pytest.raises(ValueError, match='choose another folder with --out'):
        export(given)

    # Calibrated: the last layer divided by one temperature, and nothing else.
    # A file that only the loss needs is no hindrance, and is told.
    loss = 'model.head.head.loss'
    options = [f'{loss}.type=CrossEntropyLoss', f'{loss}.class_weight=no.npy']
    capsys.readouterr()
    export([*given, '--out', 'out', '--calibrate', '--cfg-options', *options])
    after = torch.load('out/st_2-2-1-2.pth')['state_dict']
    temperature = (weights['head.fc.bias'] / after['head.fc.bias']).mean()
    assert abs(temperature - 1) > 0.01
    for key, value in after.items():
        if key.startswith('head.fc'):
            value = value * temperature
        torch.testing.assert_close(value, weights[key])
    told = f'Left out, as the file is missing: {loss}.class_weight'
    assert told in capsys.readouterr().out
    config = Path('out/st_2-2-1-2.py').read_text()
    assert f'# {told}' in config and 'no.npy' not in config


@pytest.mark.parametrize(
    'depths, options, message',
    [
        (
            '2-1-2-2',
            ['randomness.seed=1'],
            r'\[2, 1, 2, 2\] are not in the sampling space.*: 1 or 2; 2; ',
        ),
        ('2-2-1-2', ['model.backbone.depth=34'], r'layer1\.2\.conv1\.weight'),
        (
            '2-2-1-2',
            ['train_dataloader.dataset.data_root=nowhere'],
            "images cannot be read .*'nowhere/train'.*: set the paths",
        ),
    ],
)
def test_bad_input_leaves_nothing_behind(
    export, run, tmp_path, depths, options, message
):
    flags = ['--depths', depths, '--cfg-options', *options]
    with pytest.raises(ValueError, match=message):
        export([*run, '--out', tmp_path / 'out', *flags])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'flags, message',
    [
        ([], 'give either --depths, or --evaluated'),
        (['--depths', '1', '--evaluated', 'f'], 'give either'),
        (['--depths', '1', '--max-flops', '1'], 'go together'),
        (['--evaluated', 'f', '--max-params', '1', '--size', '9'], '--size'),
        (['--evaluated', 'f'], 'go together'),
    ],
)
def test_flags_that_do_not_fit(export, capsys, flags, message):
    with pytest.raises(SystemExit):
        export(['config', 'checkpoint', *flags])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'text', ['{}', '[]', 'no JSON', '{"networks": [{"depths": [1]}]}']
)
def test_file_that_is_no_family(export, tmp_path, text):
    path = tmp_path / 'family.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='is not what .*accuracy_cost.py'):
        export(['c', 'k', '--evaluated', path, '--max-flops', '1'])
