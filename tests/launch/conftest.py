"""A run that was trained, with its config and its checkpoint."""

import pytest

from tests.analysis.evaluation_by_hand import NUM_TRAIN, NUM_VAL, loader


@pytest.fixture
def trained(tiny_runner, tmp_path):
    """Train, and give the runner, its config file and its checkpoint."""

    def train(batch_size=NUM_TRAIN, name='run', seed=0, **options):
        runner = tiny_runner(
            name,
            sampler=dict(num_subnets=1),
            train_dataloader=loader(batch_size, NUM_TRAIN),
            randomness=dict(seed=seed),
            **{
                **dict(
                    val_dataloader=loader(16, NUM_VAL),
                    val_evaluator=[
                        dict(type='Accuracy', topk=(1,)),
                        dict(type='MeanScore'),
                    ],
                    val_cfg=dict(),
                ),
                **options,
            },
        )
        runner.train()
        config = tmp_path / f'{name}_config.py'
        runner.cfg.dump(config)
        return runner, str(config), str(tmp_path / name / 'epoch_2.pth')

    return train
