"""Single trainings of ``demo/frontier.py``, and their scores."""

from pathlib import Path
from typing import Any, Dict, NamedTuple, Sequence

from classification import read_scores, score_main, score_subnets
from frontier_arms import COMPARISONS, Arm, Comparison
from frontier_report import Run
from run_logged import train_logged

from mmst.analysis.training_log import read_training_log


class Job(NamedTuple):
    """One training to do.

    Attributes:
        arm: A key of the comparison's ``arms``.
        epochs: Its length.
        seed: Its seed.
        of: A key of ``COMPARISONS``.
    """

    arm: str
    epochs: int
    seed: int
    of: str = 'resnet20'

    @property
    def way(self) -> Arm:
        """The arm itself."""
        return self.comparison.arms[self.arm]

    @property
    def comparison(self) -> Comparison:
        """The comparison that it belongs to."""
        return COMPARISONS[self.of]

    @property
    def config(self) -> str:
        """The config, from the repository's root."""
        return self.comparison.find_config(self.way.method)

    @property
    def options(self) -> Dict[str, Any]:
        """What the arm, the length and the seed change in it."""
        options = {
            **self.way.options,
            'train_cfg.max_epochs': self.epochs,
            'train_cfg.val_interval': self.epochs,
            'randomness.seed': self.seed,
        }
        if self.way.begin:
            options['custom_hooks.0.begin'] = int(self.way.begin * self.epochs)
        return options


def train(job: Job, folder: Path, options: Sequence[str]) -> Run:
    """Train, resume, or reuse an existing run, and score it.

    Args:
        job: What to train.
        folder: Its work directory.
        options: More ``--cfg-options``.
    """
    is_whole = not folder.exists()
    followers = job.comparison.followers
    name = f'{job.way.label}, {job.epochs} epochs, seed {job.seed}'
    arguments = [
        '--cfg-options',
        *(f'{key}={value}' for key, value in job.options.items()),
        # A pretraining validates nothing.
        *(o for o in options if not (followers and o.startswith('val_'))),
    ]
    seconds = train_logged(name, job.config, folder, arguments)
    log = read_training_log(str(folder))
    parts: Dict[str, float] = {}
    if job.comparison.has_exits:
        score_subnets(name, job.way.label, job.config, folder, arguments)
        parts = read_scores(folder)
    for follower, method in followers.items():
        parts[follower] = follow(
            f'{name}, {follower}', job, method, folder, options
        )
    return Run(
        *job[:3],
        list(parts.values())[-1]
        if followers
        else score_main(name, job.config, folder, arguments),
        log.epoch_length * job.epochs,
        round(seconds, 1) if is_whole else None,
        read_processor(),
        parts=parts or None,
    )


def follow(
    name: str, job: Job, method: str, folder: Path, options: Sequence[str]
) -> float:
    """Train from a pretrained encoder.

    Args:
        name: Prefix of its lines on the screen.
        job: The pretraining.
        method: The config's method.
        folder: The pretraining's work directory.
        options: More ``--cfg-options``, those of the data.

    Returns:
        float: Accuracy at the end, in percent.
    """
    checkpoint = (folder / 'last_checkpoint').read_text()
    config = job.comparison.find_config(method)
    arguments = [
        '--cfg-options',
        f'model.backbone.init_cfg.checkpoint={checkpoint}',
        f'randomness.seed={job.seed}',
        *options,
    ]
    train_logged(name, config, folder / method, arguments)
    return score_main(name, config, folder / method, arguments)


def read_processor() -> str:
    """Read the name of this machine's processor; '' if unknown."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    names = [line for line in lines if line.startswith('model name')]
    return names[0].partition(':')[2].strip() if names else ''
