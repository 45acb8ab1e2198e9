"""Scalars of subnets for the visualizer of a run."""

from typing import Dict, Sequence

from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend, Visualizer

from mmst.subnets import Stage, Subnet

#: File of LocalVisBackend, beside its ``scalars.json``.
FILE = 'subnets.json'


def add_subnet_scalars(
    visualizer: Visualizer, scalars: Dict[str, float], step: int
) -> None:
    """Write scalars to every backend: TensorBoard, WandB, local files.

    Local files are separate, because the toolboxes' own readers, such as
    ``analyze_logs.py``, take every line of ``scalars.json`` for one of
    training or validation.

    Args:
        visualizer: The run's visualizer.
        scalars: Names and values.
        step: Number of epochs or iterations so far.
    """
    for backend in visualizer._vis_backends.values():
        if isinstance(backend, LocalVisBackend):
            backend = LocalVisBackend(backend._save_dir, scalar_save_file=FILE)
        backend.add_scalars(scalars, step=step)


def report_subnets(
    runner: Runner, stages: Sequence[Stage], subnets: Sequence[Subnet]
) -> None:
    """Report which subnets an iteration trained, in the log and as scalars.

    Args:
        runner: The runner, after the iteration.
        stages: The model's stages.
        subnets: The subnets.
    """
    runner.logger.info(
        f'Subnets of iteration {runner.iter + 1}: '
        + '; '.join(map(str, subnets))
    )
    scalars: Dict[str, float] = {}
    for k, subnet in enumerate(subnets):
        if subnet.size is not None:
            scalars[f'subnet{k}_size'] = subnet.size
        for stage, depth in zip(stages, subnet.depths):
            scalars[f'subnet{k}_depth_{stage.name}'] = depth
    add_subnet_scalars(runner.visualizer, scalars, runner.iter + 1)
