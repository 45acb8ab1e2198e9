"""Make the images of a config smaller."""

from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

Pipeline = List[Dict[str, Any]]

# Options of the toolboxes' transforms that are sizes in px.
SIZES = ('scale', 'scales', 'crop_size', 'size', 'img_scale')
LOADERS = ('val_dataloader', 'test_dataloader', 'train_dataloader')


def shrink_pipelines(cfg: Mapping[str, Any], size: int) -> Dict[str, Pipeline]:
    """Find the changes to a config that make its images smaller.

    Sizes in the pipelines are multiplied so that the shorter side of a
    validation image becomes ``size``, those of training images alike. Where
    a pipeline resizes nothing, a resize is added before the sample is packed.

    Args:
        cfg: A config, not changed.
        size: Shorter side of the validation images, in px.

    Returns:
        dict: The new pipelines, by the places that
        ``Config.merge_from_dict`` takes.

    Raises:
        ValueError: If the size is below 1, there is no pipeline, or poses
            would be decoded at the old size.

    Example:
        >>> pipeline = [dict(type='Resize', scale=64), dict(type='PackInputs')]
        >>> cfg = dict(val_dataloader=dict(dataset=dict(pipeline=pipeline)))
        >>> shrink_pipelines(cfg, 32)['val_dataloader.dataset.pipeline'][0]
        {'type': 'Resize', 'scale': 32}
    """
    if size < 1:
        raise ValueError(f'size {size} of images: must be at least 1 px')
    found = {
        loader: dict(_iter_pipelines(cfg.get(loader), loader))
        for loader in LOADERS
    }
    if not found['val_dataloader']:
        raise ValueError(
            f'cannot make images of {size} px: val_dataloader.dataset of the '
            'config has no pipeline'
        )
    side = _find_shorter_side(found['val_dataloader'])
    changes = {}
    for pipelines in found.values():
        resizes = any(map(_resizes, pipelines.values()))
        if resizes and side is not None:
            for place, pipeline in pipelines.items():
                changes[place] = _scale_sizes(pipeline, size / side)
        elif pipelines and not resizes and side is None:
            place, pipeline = next(iter(pipelines.items()))
            # A longer side that is no limit.
            scale = (100 * size, size)
            resize = dict(type='Resize', scale=scale, keep_ratio=True)
            changes[place] = [*pipeline[:-1], resize, pipeline[-1]]
    return changes


def _iter_pipelines(part: Any, place: str) -> Iterator[Tuple[str, Pipeline]]:
    """Yield all pipelines in a part of a config, with their places."""
    if isinstance(part, (list, tuple)):
        part = dict(enumerate(part))
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == 'pipeline' and value:
                yield f'{place}.pipeline', [dict(step) for step in value]
            else:
                yield from _iter_pipelines(value, f'{place}.{key}')


def _resizes(pipeline: Pipeline) -> bool:
    return any('scale' in step or 'scales' in step for step in pipeline)


def _find_shorter_side(pipelines: Dict[str, Pipeline]) -> Optional[int]:
    """Find the shorter side of resized images; ``None`` if none resizes."""
    steps = [step for pipeline in pipelines.values() for step in pipeline]
    for step in steps:
        if 'input_size' in step:
            raise ValueError(
                'images of a pose model cannot be made smaller by the pipeline'
                f': its codec decodes at `input_size` {step["input_size"]}'
            )
    if not _resizes(steps):
        return None
    for step in reversed(steps):
        for size in (step.get('crop_size'), step.get('scale')):
            if isinstance(size, (int, list, tuple)):
                return int(np.min(size))
    raise ValueError(
        'the size of the validation images cannot be read from the `scale` '
        'and `crop_size` of their pipeline'
    )


def _scale_sizes(value: Any, ratio: float, is_size: bool = False) -> Any:
    """Multiply all sizes in a pipeline, or in a value of it."""
    if isinstance(value, dict):
        return {
            key: _scale_sizes(entry, ratio, key in SIZES)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(_scale_sizes(v, ratio, is_size) for v in value)
    if is_size and type(value) is int:
        return max(1, round(ratio * value))
    return value
