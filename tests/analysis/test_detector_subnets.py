"""Subnets of a real detector, by the config's own metric."""

import re

import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('pycocotools')

from mmengine.runner import Runner  # noqa: E402

from mmst.analysis.loafing import measure_loafing  # noqa: E402
from mmst.evaluation import reestimate_statistics  # noqa: E402
from mmst.launch.toolbox import check_toolbox, read_config  # noqa: E402
from mmst.launch.trained_runner import load_trained_runner  # noqa: E402
from mmst.subnets import activate  # noqa: E402
from tests.analysis.detector import write_detector  # noqa: E402
from tests.conftest import forget_earlier_runs  # noqa: E402

# Tall and wide ones come in batches of their own; one is left over.
SIZES = [(64, 48), (48, 64), (64, 40), (40, 64), (56, 48)]


@pytest.fixture
def detector(tmp_path):
    """Make a runner of the detector, its random weights from a checkpoint."""

    def make(norm_eval):
        config = write_detector(tmp_path / 'data', norm_eval, SIZES)
        cfg = read_config(config)
        check_toolbox(cfg)
        cfg.work_dir = str(tmp_path / 'work')
        runner = Runner.from_cfg(cfg)
        torch.manual_seed(0)
        runner.model.init_weights()
        torch.save(runner.model.state_dict(), tmp_path / 'random.pth')
        forget_earlier_runs()
        return load_trained_runner(
            config, str(tmp_path / 'random.pth'), tmp_path / 'work'
        )

    return make


def test_loafing_by_the_own_metric(detector):
    """Found without being named; a subnet's scores are of its blocks only."""
    runner = detector(norm_eval=False)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    metric, scores = measure_loafing(runner, subnets=[(1, 1, 1, 1)])
    assert metric == 'coco/bbox_mAP'
    assert list(scores) == ['main', '1-1-1-1']
    assert all(0 <= score <= 1 for score in scores.values())
    fine = measure_loafing(runner, 'mean_score').scores
    assert len(set(fine.values())) == len(fine) == 3
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    with torch.no_grad():
        for name, parameter in runner.model.backbone.named_parameters():
            if re.match(r'layer\d\.1\.', name):
                parameter.normal_()
    again = measure_loafing(runner, 'mean_score').scores
    assert again['1-1-1-1'] == pytest.approx(fine['1-1-1-1'], abs=1e-6)
    assert again['2-2-2-2'] != pytest.approx(fine['2-2-2-2'], abs=1e-6)


def by_hand(runner):
    """Mean and mean square, image by image, of what the stem's norm sees."""
    sums = []
    model = runner.model
    for data in runner.train_dataloader:
        inputs = model.data_preprocessor(data, False)['inputs']
        x = model.backbone.conv1(inputs).double()
        count = x.numel() / x.shape[1]
        mean = x.mean((0, 2, 3))
        square = x.var((0, 2, 3), correction=0) * count / (count - 1)
        sums.append((len(inputs), mean, square + mean**2))
    total = sum(size for size, *_ in sums)
    assert total == len(SIZES) and len(sums) == 3
    mean = sum(size * mean for size, mean, _ in sums) / total
    square = sum(size * square for size, _, square in sums) / total
    return mean, square - mean**2


def test_statistics_with_a_batch_sampler(detector):
    runner = detector(norm_eval=False)
    norm = runner.model.backbone.bn1
    with torch.no_grad():
        expected = by_hand(runner)
    with activate(
        runner.model, (1, 1, 1, 1), update_running_stats=True
    ), reestimate_statistics(runner.model, runner.train_dataloader):
        for value, right in zip(
            (norm.running_mean, norm.running_var), expected
        ):
            torch.testing.assert_close(
                value.double(), right, rtol=1e-5, atol=1e-6
            )


def test_frozen_statistics_need_no_images(detector):
    """mmdet freezes the backbone's by default, and has no others here."""
    runner = detector(norm_eval=True)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}

    def no_batches():
        raise AssertionError('images were read')
        yield

    with activate(
        runner.model, (1, 1, 1, 1), update_running_stats=True
    ), reestimate_statistics(runner.model, no_batches()):
        for key, value in runner.model.state_dict().items():
            assert torch.equal(value, before[key]), key
