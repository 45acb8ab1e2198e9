"""Data sets are prepared before workers start and when they are replaced."""

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, init_default_scope
from mmengine.runner import Runner
from torch.utils.data import Dataset

pytest.importorskip('mmpose')

from mmst.targets.dataset_parts import iter_parts  # noqa: E402
from tests.conftest import forget_earlier_runs  # noqa: E402
from tests.engine.dense_tasks import (  # noqa: E402
    PIPELINES,
    TASKS,
    TinyScenes,
    model_cfg,
)


class Wrapper(Dataset):
    """A wrapper of a user's own: nobody knows how it calls what it holds."""

    def __init__(self):
        self.sources = dict(a=TinyScenes('pose'))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.sources['a'][index]


@HOOKS.register_module(force=True)
class ReplaceLoader(Hook):
    """Like mmpose's YOLOXPoseModeSwitchHook: another data loader."""

    def before_train_epoch(self, runner):
        cfg = runner.cfg.train_dataloader.copy()
        runner.train_loop.dataloader = Runner.build_dataloader(cfg)


def train(
    folder,
    loop='Epoch',
    hooks=(),
    num_workers=0,
    dataset=None,
    persistent=False,
):
    """A pose model, its subnets at another size; that it runs is the test."""
    forget_earlier_runs()
    by_iter = loop == 'Iter'
    train_cfg = dict(type=f'mmst.ST{loop}BasedTrainLoop')
    train_cfg['max_iters' if by_iter else 'max_epochs'] = 3
    runner = Runner.from_cfg(
        Config(
            dict(
                model=model_cfg('pose'),
                work_dir=str(folder),
                train_dataloader=dict(
                    batch_size=4,
                    num_workers=num_workers,
                    persistent_workers=persistent,
                    dataset=dataset or dict(type='TinyScenes', task='pose'),
                    sampler=dict(
                        type='InfiniteSampler' if by_iter else 'DefaultSampler'
                    ),
                    collate_fn=dict(type='pseudo_collate'),
                ),
                train_cfg=train_cfg,
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
                default_hooks=dict(checkpoint=None),
                custom_hooks=[
                    dict(
                        type='mmst.SubnetSamplerHook',
                        num_subnets=1,
                        sizes=[0.75],
                    ),
                    *hooks,
                ],
                default_scope=TASKS['pose'][0],
                randomness=dict(seed=0),
                experiment_name=str(folder),
            )
        )
    )
    runner.train()
    assert runner.iter == 3


@pytest.mark.parametrize('num_workers', [0, 1])
def test_iteration_based_loop(num_workers, tmp_path):
    train(tmp_path, 'Iter', num_workers=num_workers)


@pytest.mark.parametrize('persistent', [False, True])
@pytest.mark.parametrize('num_workers', [0, 1])
def test_pipeline_switch(num_workers, persistent, tmp_path):
    pytest.importorskip('mmdet')
    if persistent and not num_workers:
        pytest.skip('no workers to persist')
    switch = dict(
        type='mmdet.PipelineSwitchHook',
        switch_epoch=1,
        switch_pipeline=PIPELINES['mmpose'],
    )
    train(
        tmp_path,
        hooks=[switch],
        num_workers=num_workers,
        persistent=persistent,
    )


def test_replaced_data_loader(tmp_path):
    train(tmp_path, hooks=[dict(type='ReplaceLoader')], num_workers=1)


def test_wrapper_of_a_user_s_own(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS._module_dict, 'OwnWrapper', Wrapper)
    train(tmp_path, dataset=dict(type='OwnWrapper'), num_workers=1)


def test_goes_not_through_plain_data():
    """Such as lists of annotations."""

    class Untouchable(dict):
        @property
        def __dict__(self):
            raise AssertionError('gone into')

    init_default_scope('mmpose')
    scenes = TinyScenes('pose')
    scenes.data_list = [Untouchable()] * 3
    names = {type(part).__name__ for part in iter_parts(scenes)}
    assert {'TinyScenes', 'Compose', 'PackPoseInputs'} <= names
