"""Keypoints in the input's coordinates, for mmpose's samples."""

from typing import Any


def pack_input_keypoints(dataset: Any) -> None:
    """Let the pipelines of a data set pack them into the samples.

    A subnet's targets are encoded anew from these keypoints, but mmpose packs
    only what it has encoded, unless ``PackPoseInputs`` is told
    ``pack_transformed=True``. Main network and metrics do not read them.

    Args:
        dataset: Any data set, or one around others. Not yet handed to
            workers, which have copies.
    """
    pipeline = getattr(dataset, 'pipeline', None)
    for transform in getattr(pipeline, 'transforms', ()):
        if hasattr(transform, 'pack_transformed'):
            transform.pack_transformed = True
    inner = getattr(dataset, 'datasets', ())
    for part in (*inner, getattr(dataset, 'dataset', None)):
        if part is not None:
            pack_input_keypoints(part)
