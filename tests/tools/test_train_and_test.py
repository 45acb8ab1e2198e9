"""The flags of tools/train.py and tools/test.py."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmst.launch import configured_runner, toolbox
from mmst.launch.command_line import parse_value
from mmst.launch.short_errors import print_short_error
from tests.conftest import ROOT, load_run, logged, read_log
from tests.environments import run_process


@pytest.fixture
def read(load_tool, config):
    """Return the config as train.py would hand it to the runner."""
    tool = load_tool('tools/train')

    def read(*flags: str) -> Config:
        args = tool.parse_args([config, *flags])
        cfg = configured_runner.load_config(args)
        tool.apply_args(cfg, args)
        return cfg

    return read


@pytest.fixture
def gpu(monkeypatch):
    """Let the flags believe in an accelerator."""
    monkeypatch.setattr(configured_runner, 'get_device', lambda: 'cuda')


def test_trains_and_validates(trained):
    assert any('accuracy/top1' in line for line in logged(trained))
    checkpoint = load_run(trained / 'epoch_1.pth')
    assert checkpoint['meta']['iter'] == 2
    assert 'mmst' not in checkpoint['meta']['cfg']


def test_flags_change_the_config(read):
    cfg = read('--no-validate')
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.test_dataloader is not None
    assert cfg.work_dir == 'work_dirs/tiny'
    own = ['param_scheduler.milestones=[2,4]', 'work_dir=here']
    cfg = read('--cfg-options', *own)
    assert cfg.param_scheduler.milestones == [2, 4]
    assert cfg.work_dir == 'here'
    cfg = read('--cfg-options', *own, '--work-dir', 'there')
    assert cfg.work_dir == 'there'
    own = ['--auto-scale-lr', '--cfg-options']
    cfg = read(*own, 'auto_scale_lr.base_batch_size=4')
    assert cfg.auto_scale_lr.enable is True
    with pytest.raises(ValueError, match='base_batch_size'):
        read('--auto-scale-lr')


@pytest.mark.parametrize('tool', ['train', 'test'])
@pytest.mark.parametrize(
    'flags, message',
    [
        (
            '--cfg-options optim_wraper.optimizer.lr=1',
            "optim_wraper.optimizer.lr: .*Did you mean 'optim_wrapper'",
        ),
        ('--cfg-options qqq=1', '--cfg-options qqq: .*It has .*train_cfg'),
        ('--amp', "has only 'cpu'"),
    ],
)
def test_flags_that_both_tools_refuse(load_tool, tool, config, flags, message):
    flags = ['x.pth'] * (tool == 'test') + flags.split()
    with pytest.raises(ValueError, match=message):
        load_tool(f'tools/{tool}').main([config, *flags])


def test_odd_paths_and_data_that_teach_little(train, config, tmp_path):
    """Spaces and Unicode; one class, and batches of one."""
    images, root = Path(config).parent / 'images', tmp_path / 'my größe'
    shutil.copytree(images / 'train/a', root / '写真, 2/cat')
    data = 'train_dataloader'
    train(
        [config, '--work-dir', tmp_path / 'my work', '--no-validate']
        + ['--cfg-options', f'{data}.dataset.data_root={root}']
        + [f'{data}.dataset.data_prefix="写真, 2"', f'{data}.batch_size=1']
    )
    log = read_log(tmp_path / 'my work')
    assert "the training data have one class, 'cat'" in log
    assert 'batch_size=1: BatchNorm normalises each image by itself' in log


@pytest.mark.parametrize(
    'text, value',
    [
        ('my data', 'my data'),
        ("[it's mine, 'a, b', (1, 2.5)]", ["it's mine", 'a, b', (1, 2.5)]),
        ('[a,b],[c]', [['a', 'b'], ['c']]),
        ('"[1,2]"', [1, 2]),
        ('1e-3', 0.001),
        ('(1,)', (1,)),
        ('[]', []),
        ('a)', 'a)'),
        ('', ''),
        ('False', False),
        ('None', None),
    ],
)
def test_values_of_cfg_options(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize('given', ['x', 'x=(1,2', 'x=[1,(2])'])
def test_options_that_cannot_be_read(load_tool, config, capsys, given):
    with pytest.raises(SystemExit):
        load_tool('tools/train').parse_args([config, '--cfg-options', given])
    assert f'--cfg-options {given}: ' in capsys.readouterr().err


def test_preprocess_cfg(tmp_path):
    """mmpose's other name of the model's data_preprocessor."""
    path = tmp_path / 'mine.py'
    path.write_text(
        "model = dict(type='A')\npreprocess_cfg = dict(mean=[1.0])\n"
    )
    model = toolbox.read_config(str(path)).model
    assert model.data_preprocessor == dict(mean=[1.0])


@pytest.mark.parametrize(
    'part, options, message',
    [
        ('train_cfg', 'max_epochs=0', 'train_cfg.max_epochs=0 trains no'),
        (
            *('train_cfg', '_delete_=True by_epoch=False max_iters=0'),
            'train_cfg.max_iters=0 trains no',
        ),
        (
            *('train_dataloader', 'drop_last=True batch_size=5'),
            '4 images, fewer than a batch of 5.*train_dataloader.drop_last',
        ),
    ],
)
def test_no_iteration(train, config, tmp_path, part, options, message):
    options = [f'{part}.{option}' for option in options.split()]
    with pytest.raises(ValueError, match=message):
        train([config, '--work-dir', tmp_path, '--cfg-options', *options])


def test_dataloaders(read, gpu):
    name = 'train_dataloader'
    assert read()[name].persistent_workers is False  # no workers to keep
    with_workers = ['--cfg-options', f'{name}.num_workers=1']
    cfg = read(*with_workers)
    assert cfg[name].persistent_workers and cfg[name].pin_memory
    assert cfg[name].collate_fn.type == 'default_collate'
    cfg = read(*with_workers, '--no-persistent-workers', '--no-pin-memory')
    assert not cfg[name].persistent_workers and not cfg[name].pin_memory
    # Only mmpretrain leaves the dataloaders to its tools.
    cfg = read('--cfg-options', 'default_scope=mmdet')
    assert 'collate_fn' not in cfg[name] and 'pin_memory' not in cfg[name]


def test_amp_on_an_accelerator(read, gpu):
    wrapper = read('--amp').optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper'
    assert wrapper.loss_scale == 'dynamic' and wrapper.optimizer.lr == 0.01
    with pytest.raises(ValueError, match="optim_wrapper.type = 'Mine'"):
        read('--amp', '--cfg-options', 'optim_wrapper.type=Mine')


@pytest.mark.parametrize('flag', ['--local-rank', '--local_rank'])
def test_local_rank(read, flag, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '')
    monkeypatch.delenv('LOCAL_RANK')
    read(f'{flag}=3')
    assert configured_runner.os.environ['LOCAL_RANK'] == '3'
    read(f'{flag}=4')  # the launcher's variable counts
    assert configured_runner.os.environ['LOCAL_RANK'] == '3'


def test_test_writes_metrics_and_predictions(test, config, work_dir):
    run = [config, work_dir / 'epoch_1.pth', '--work-dir', work_dir]
    metrics = work_dir / 'metrics.json'
    test([*run, '--out', metrics, '--out-item', 'metrics'])
    top1 = json.loads(metrics.read_text())['accuracy/top1']
    out, drawn = work_dir / 'pred.pkl', work_dir / 'drawn'
    # Of a config that resumes, too.
    resumes = ['--cfg-options', 'resume=True', 'load_from=nowhere.pth']
    test([*run, '--out', out, '--show-dir', drawn, *resumes])
    predictions = pickle.loads(out.read_bytes())
    right = sum((p['gt_label'] == p['pred_label']).item() for p in predictions)
    assert len(predictions) == 4 and top1 == 25 * right
    assert len(list(drawn.glob('*.png'))) == 4


def test_test_refuses_another_network(test, config, work_dir, capfd):
    run = [config, work_dir / 'epoch_1.pth', '--work-dir', work_dir]
    wider = ['--cfg-options', 'model.head.num_classes=3']
    with pytest.raises(
        ValueError,
        match=r'epoch_1.pth fills \d+ of \d+ tensors of ImageClassifier.*'
        r'head.fc.weight \(2, 64\) in place of \(3, 64\)[^$]*--allow-partial',
    ):
        test([*run, *wider])
    test([*run, '--allow-partial', *wider])
    assert 'Missing in the file, or of another' in ''.join(capfd.readouterr())


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--out-item', 'pred'], 'needs --out'),
        (['--out', 'x.txt'], 'end with one of .pkl'),
        (['--out', 'x.txt', '--out-item', 'metrics'], 'end with one of .json'),
        (
            ['--show', '--cfg-options', 'default_hooks.visualization=None'],
            'visualization',
        ),
    ],
)
def test_wrong_flags_of_test(test, config, flags, message):
    with pytest.raises(ValueError, match=message):
        test([config, 'x.pth', *flags])


@pytest.mark.parametrize(
    'scope, expected',
    [
        ('mmpretrain', dict(enable=True, out_dir='drawn')),
        ('mmpose', dict(enable=True, out_dir='drawn')),
        ('mmdet', dict(draw=True, test_out_dir='drawn')),
        ('mmseg', dict(draw=True)),
    ],
)
def test_drawing_speaks_each_toolbox(load_tool, scope, expected):
    tool = load_tool('tools/test')
    hooks = dict(visualization=dict(type='X'))
    cfg = dict(default_scope=scope, default_hooks=hooks, visualizer={})
    cfg, flags = Config(cfg), ['--show-dir', 'drawn', '--interval', '5']
    tool.draw_results(cfg, tool.parse_args(['c.py', 'x.pth', *flags]))
    hook = cfg.default_hooks.visualization
    expected.update(type='X', show=False, interval=5, wait_time=2)
    assert hook == expected
    assert ('save_dir' in cfg.visualizer) is (scope == 'mmseg')


def configure_tta(load_tool, dataset, **options):
    """The config as ``--tta`` changes it."""
    loader = dict(test_dataloader=dict(dataset=dataset))
    cfg = Config(dict(model=dict(type='M'), **loader, **options))
    load_tool('tools/test').use_tta(cfg)
    return cfg


def test_tta_without_its_keys(load_tool):
    """mmpretrain's classifiers take flips, as in its own tool."""
    dataset = dict(type='D', pipeline=[dict(type='L'), dict(type='P')])
    cfg = configure_tta(load_tool, dataset, default_scope='mmpretrain')
    assert cfg.model.type == 'mmpretrain.AverageClsScoreTTA'
    assert cfg.model.module == dict(type='M')
    load, augment = cfg.test_dataloader.dataset.pipeline
    assert load == dict(type='L')
    assert augment.transforms == [
        [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
        [dict(type='P')],
    ]
    with pytest.raises(ValueError, match='tta_model and tta_pipeline'):
        configure_tta(load_tool, dataset, default_scope='mmdet')


def test_tta_reaches_the_pipeline(load_tool):
    inner = dict(type='D', pipeline=['p'])
    own = dict(tta_model=dict(type='T'), tta_pipeline=['t'])
    wrapped = dict(type='RepeatDataset', dataset=inner)
    cfg = configure_tta(load_tool, wrapped, **own)
    assert cfg.model == dict(type='T', module=dict(type='M'))
    assert cfg.test_dataloader.dataset.dataset.pipeline == ['t']


def test_errors_without_those_before(capsys, monkeypatch):
    def tell():
        try:
            try:
                raise KeyError('first')
            except KeyError as error:
                raise ValueError('second' + 3000 * 'x') from error
        except ValueError:
            print_short_error(*sys.exc_info())
        return capsys.readouterr().err

    told = tell()
    assert told.count('Traceback') == 1 and 'first' not in told
    assert told.endswith('xxx ... (cut here)\n') and len(told) < 3000
    # In the tool's own file it is a refusal.
    monkeypatch.setattr(sys, 'argv', [__file__])
    assert tell().startswith('ValueError: secondxxx')


def test_torchrun_ends_with_the_error(config, tmp_path):
    command = ['bash', ROOT / 'tools/dist_train.sh', config, 1]
    command += ['--work-dir', tmp_path, '--cfg-options', 'optim_wraper.x=1']
    output = run_process(*command, PYTHON=sys.executable, status=1)
    end = '\n'.join(output.splitlines()[-4:])
    assert 'ValueError: --cfg-options optim_wraper.x: the config has no' in end


@pytest.mark.parametrize(
    'text, message',
    [
        ('model = dict(a=1', r'mine.py or a base of it, line 1: .*model = d'),
        ("_base_ = 'gone.py'", 'gone.py'),
    ],
)
def test_configs_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / 'mine.py').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        toolbox.read_config(str(tmp_path / 'mine.py'))
    with pytest.raises(FileNotFoundError, match='no.py does not exist'):
        toolbox.read_config(str(tmp_path / 'no.py'))
