"""How good a trained network's subnets are."""
from typing import Dict, Optional, Sequence, Union

from mmengine.runner import Runner

from mmst.subnets import Subnet, activate
from .batch_norm import reestimated_statistics


def evaluate_subnet(runner: Runner,
                    subnet: Optional[Union[Subnet, Sequence[int]]] = None,
                    num_samples: int = 2000) -> Dict[str, float]:
    """Metrics of a subnet, or of the main network, on the validation set.

    Args:
        runner: A runner with the model's weights loaded, a validation loop
            and, for a subnet, a training data loader.
        subnet: The subnet, or the number of blocks to keep in each stage;
            ``None`` for the main network with its own BatchNorm statistics.
        num_samples: Training images to re-estimate a subnet's BatchNorm
            statistics from.

    Returns:
        dict: The metrics of the config's ``val_evaluator``.

    Raises:
        ValueError: If the config has no validation, or the subnet does not
            fit the model.
    """
    if runner.val_loop is None:
        raise ValueError('the config has no validation: give it '
                         'val_dataloader, val_evaluator and val_cfg')
    if subnet is None:
        return runner.val_loop.run()
    with activate(runner.model, subnet, update_running_stats=True), \
            reestimated_statistics(runner.model, runner.train_dataloader,
                                   num_samples):
        return runner.val_loop.run()
