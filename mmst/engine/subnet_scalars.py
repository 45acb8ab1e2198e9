"""Figures of subnets for whichever visualizer a run has."""

from typing import Dict

from mmengine.visualization import LocalVisBackend, Visualizer

#: Where LocalVisBackend writes them, beside its ``scalars.json``.
FILE = 'subnets.json'


def add_subnet_scalars(
    visualizer: Visualizer, scalars: Dict[str, float], step: int
) -> None:
    """Hand figures to every backend: TensorBoard, WandB, local files.

    Local files have them apart: the toolboxes' own readers, such as
    ``analyze_logs.py``, take every line of ``scalars.json`` for one of
    training or of validation.

    Args:
        visualizer: That of the run.
        scalars: Names and values.
        step: Epochs or iterations so far.
    """
    for backend in visualizer._vis_backends.values():
        if isinstance(backend, LocalVisBackend):
            backend = LocalVisBackend(backend._save_dir, scalar_save_file=FILE)
        backend.add_scalars(scalars, step=step)
