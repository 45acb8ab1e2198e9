"""Metrics of a trained network's subnets."""

from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from mmengine.runner import Runner, set_random_seed
from torch.utils.data import Dataset

from mmst.subnets import Subnet, activate
from mmst.subnets.preserve import preserve_random_state

from .batch_norm import reestimate_statistics
from .data_loaders import (
    build_train_loader,
    get_train_loader,
    get_validation_loader,
)

# A subnet, the number of blocks to keep in each stage, or the main network.
Network = Optional[Union[Subnet, Sequence[int]]]


def list_uniform_depths(num_blocks: Sequence[int]) -> List[Tuple[int, ...]]:
    """List subnets with at most d blocks in every stage, for d = 1, 2 ...

    Example:
        >>> list_uniform_depths((1, 3, 2))
        [(1, 1, 1), (1, 2, 2), (1, 3, 2)]
    """
    return [
        tuple(min(d, full) for full in num_blocks)
        for d in range(1, max(num_blocks) + 1)
    ]


@contextmanager
def run_as_subnet(
    runner: Runner,
    subnet: Network = None,
    num_samples: int = 2000,
    dataset: Optional[Dataset[Any]] = None,
) -> Iterator[None]:
    """Run the model as a subnet, with its own BatchNorm statistics.

    They come from the same training images and crops for every subnet,
    drawn with the runner's seed.

    Args:
        runner: A runner with the model's weights loaded.
        subnet: The subnet, or the number of blocks to keep in each stage;
            ``None`` for the main network with its own BatchNorm statistics.
        num_samples: Training images to re-estimate the statistics from.
        dataset: Training images; default: those of the runner's
            ``train_dataloader``.

    Raises:
        ValueError: If the subnet does not fit the model, or its statistics
            need training images and there are none.

    Example:
        >>> with run_as_subnet(runner, (1, 2, 1), num_samples=12):
        ...     predictions = runner.model.val_step(data_batch)
    """
    if subnet is None:
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(
            activate(runner.model, subnet, update_running_stats=True)
        )
        with preserve_random_state():
            set_random_seed(runner.seed)
            stack.enter_context(
                reestimate_statistics(
                    runner.model,
                    _iter_training_batches(runner, dataset),
                    num_samples,
                )
            )
        yield


def _iter_training_batches(
    runner: Runner, dataset: Optional[Dataset[Any]]
) -> Iterator[Any]:
    """Iterate over training batches; nothing is built before the first."""
    if dataset is None:
        dataset = get_train_loader(runner).dataset
    yield from build_train_loader(runner, dict(type=lambda: dataset))


def evaluate_subnet(
    runner: Runner,
    subnet: Network = None,
    num_samples: int = 2000,
    dataset: Optional[Dataset[Any]] = None,
) -> Dict[str, float]:
    """Evaluate a subnet, or the main network, on the validation set.

    The arguments are those of :func:`run_as_subnet`.

    Returns:
        dict: The metrics of the config's ``val_evaluator``.

    Raises:
        ValueError: If the config has no validation or no images, or the subnet
            does not fit the model.

    Example:
        >>> metrics = evaluate_subnet(runner, (1, 2, 1), num_samples=12)
        >>> sorted(metrics)
        ['accuracy/top1']
    """
    get_validation_loader(runner)
    with run_as_subnet(runner, subnet, num_samples, dataset):
        return runner.val_loop.run()
