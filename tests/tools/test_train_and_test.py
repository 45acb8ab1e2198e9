"""The flags of tools/train.py and tools/test.py."""

import json
import pickle

import pytest
from mmengine.config import Config

from mmst.launch import configured_runner, toolbox
from tests.conftest import load_run, logged


@pytest.fixture
def read(load_tool, config):
    """Return the config as train.py would hand it to the runner."""

    def read(*flags: str) -> Config:
        tool = load_tool('tools/train')
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


@pytest.mark.parametrize('flag', ['auto', 'path'])
def test_resume_goes_on(train, config, work_dir, flag):
    before = load_run(work_dir / 'epoch_1.pth')
    flags = [] if flag == 'auto' else [str(work_dir / 'epoch_1.pth')]
    train(
        [
            config,
            '--resume',
            *flags,
            '--work-dir',
            str(work_dir),
            '--no-validate',
            '--cfg-options',
            'train_cfg.max_epochs=2',
        ]
    )
    after = load_run(work_dir / 'epoch_2.pth')
    assert after['meta']['iter'] == 4

    def losses(checkpoint):
        buffer = checkpoint['message_hub']['log_scalars']['train/loss']
        return list(buffer.data[0])

    # The message hub came along, so the history is one.
    assert losses(after)[:2] == losses(before) and len(losses(after)) == 4


def test_no_validate(read):
    cfg = read('--no-validate')
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.test_dataloader is not None


def test_cfg_options_change_the_config(read):
    cfg = read(
        '--cfg-options',
        'optim_wrapper.optimizer.lr=0.5',
        'param_scheduler.milestones=[2,4]',
    )
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.param_scheduler.milestones == [2, 4]


def test_work_dir_follows_the_config_name(read):
    assert read().work_dir == 'work_dirs/tiny'
    assert read('--cfg-options', 'work_dir=here').work_dir == 'here'
    assert (
        read('--cfg-options', 'work_dir=here', '--work-dir', 'there').work_dir
        == 'there'
    )


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


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_amp_needs_an_accelerator(load_tool, tool, config):
    flags = [config, '--amp'] + (['x.pth'] if tool == 'test' else [])
    with pytest.raises(ValueError, match="has only 'cpu'"):
        load_tool(f'tools/{tool}').main(flags)


def test_amp_on_an_accelerator(read, gpu):
    wrapper = read('--amp').optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper'
    assert wrapper.loss_scale == 'dynamic' and wrapper.optimizer.lr == 0.01
    with pytest.raises(ValueError, match="optim_wrapper.type = 'Mine'"):
        read('--amp', '--cfg-options', 'optim_wrapper.type=Mine')


def test_auto_scale_lr(read):
    with pytest.raises(ValueError, match='base_batch_size'):
        read('--auto-scale-lr')
    cfg = read(
        '--auto-scale-lr', '--cfg-options', 'auto_scale_lr.base_batch_size=4'
    )
    assert cfg.auto_scale_lr.enable is True


@pytest.mark.parametrize('flag', ['--local-rank', '--local_rank'])
def test_local_rank(read, flag, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '')
    monkeypatch.delenv('LOCAL_RANK')
    read(f'{flag}=3')
    assert configured_runner.os.environ['LOCAL_RANK'] == '3'
    read(f'{flag}=4')  # the launcher's variable counts
    assert configured_runner.os.environ['LOCAL_RANK'] == '3'


def test_missing_toolbox_is_named_first(train, config, monkeypatch):
    monkeypatch.setattr(toolbox, 'find_spec', lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match="'mmdet' needs mmdetection: pip install "
    ):
        train([config, '--cfg-options', 'default_scope=mmdet'])
    with pytest.raises(ValueError, match='mmdte.*one of mmpretrain, mmdet'):
        train([config, '--cfg-options', 'default_scope=mmdte'])


def test_test_writes_metrics_and_predictions(test, config, work_dir):
    run = [config, str(work_dir / 'epoch_1.pth'), '--work-dir', str(work_dir)]
    metrics = work_dir / 'metrics.json'
    test([*run, '--out', str(metrics), '--out-item', 'metrics'])
    top1 = json.loads(metrics.read_text())['accuracy/top1']
    out, drawn = work_dir / 'pred.pkl', work_dir / 'drawn'
    test([*run, '--out', str(out), '--show-dir', str(drawn)])
    predictions = pickle.loads(out.read_bytes())
    right = sum((p['gt_label'] == p['pred_label']).item() for p in predictions)
    assert len(predictions) == 4 and top1 == 25 * right
    assert len(list(drawn.glob('*.png'))) == 4


def test_test_ignores_a_config_that_resumes(test, config, work_dir):
    test(
        [
            config,
            str(work_dir / 'epoch_1.pth'),
            '--work-dir',
            str(work_dir),
            '--cfg-options',
            'resume=True',
            'load_from=nowhere.pth',
        ]
    )


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
    cfg = Config(
        dict(
            default_scope=scope, default_hooks=hooks, visualizer=dict(type='Y')
        )
    )
    tool.draw_results(
        cfg,
        tool.parse_args(
            ['c.py', 'x.pth', '--show-dir', 'drawn', '--interval', '5']
        ),
    )
    hook = cfg.default_hooks.visualization
    common = dict(type='X', show=False, interval=5, wait_time=2)
    assert hook == dict(common, **expected)
    assert ('save_dir' in cfg.visualizer) is (scope == 'mmseg')


def test_tta_without_its_keys(load_tool):
    """mmpretrain's classifiers take flips, as in its own tool."""
    use_tta = load_tool('tools/test').use_tta

    def make(scope, kind):
        dataset = dict(type='D', pipeline=[dict(type='L'), dict(type='P')])
        return Config(
            dict(
                default_scope=scope,
                model=dict(type=kind),
                test_dataloader=dict(dataset=dataset),
            )
        )

    cfg = make('mmpretrain', 'ImageClassifier')
    use_tta(cfg)
    assert cfg.model.type == 'mmpretrain.AverageClsScoreTTA'
    assert cfg.model.module == dict(type='ImageClassifier')
    load, augment = cfg.test_dataloader.dataset.pipeline
    assert load == dict(type='L')
    assert augment.transforms == [
        [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
        [dict(type='P')],
    ]
    with pytest.raises(ValueError, match='tta_model and tta_pipeline'):
        use_tta(make('mmdet', 'RetinaNet'))


def test_tta_reaches_the_pipeline(load_tool):
    cfg = Config(
        dict(
            model=dict(type='M'),
            tta_model=dict(type='T'),
            tta_pipeline=['t'],
            test_dataloader=dict(
                dataset=dict(
                    type='RepeatDataset',
                    dataset=dict(type='D', pipeline=['p']),
                )
            ),
        )
    )
    load_tool('tools/test').use_tta(cfg)
    assert cfg.model == dict(type='T', module=dict(type='M'))
    assert cfg.test_dataloader.dataset.dataset.pipeline == ['t']
