"""Handlers of data samples: what subnets need to know about each type."""

from dataclasses import replace
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    List,
    Optional,
    Sequence,
    Type,
)

import numpy as np
import torch
from torch import Tensor, nn

from . import fields
from .fields import NO_SIZES, Resizing


class SampleHandler:
    """Handles samples of one type; the defaults for all types.

    Register it with :func:`register_handler`. Import a toolbox only in the
    methods, which are called with its samples.

    Attributes:
        is_positional: Whether annotations say where something is in the
            image, so crops and flips must not move the pixels.
        kept_fields: Names of fields that do not depend on the image's size,
            nor are written into by any head. A sample without other fields is
            neither resized nor copied: batches have hundreds.

    Example:
        >>> SampleHandler().find_multiple(model)
        1
    """

    is_positional = True
    kept_fields: FrozenSet[str] = frozenset()

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize a sample's annotations as its image was resized.

        At the main batch's own size the result must equal the sample, see
        :func:`check_reproduced`.

        Returns:
            A new sample; the main network's and its tensors must not change.

        Raises:
            TypeError: If no handler is registered for the sample's type.
        """
        raise TypeError(
            'cannot give a subnet a smaller input: '
            f'{_get_name(type(sample))} has no handler. Known: '
            f'{", ".join(_HANDLERS)}. Register one with '
            f'`mmst.targets.register_handler`, or {NO_SIZES}'
        )

    def check_padding(self, sample: Any, resizing: Resizing) -> None:
        """Reject padding that the losses would learn.

        Called if the subnet's batch is padded after it was resized.

        Raises:
            ValueError: If padded parts of a target are not ignored.
        """

    def copy(self, sample: Any) -> Any:
        """Copy a sample so that a pass may write into it.

        The losses of some heads do: mmdet's for instance masks put padded
        masks into their samples. Tensors are shared, since no head of the
        toolboxes writes into them.
        """
        return sample if self.keeps(sample) else _copy_element(sample)

    def keeps(self, sample: Any) -> bool:
        """Whether a sample has no fields but ``kept_fields``."""
        return (
            bool(self.kept_fields)
            and self.kept_fields.issuperset(sample.all_keys())
            and self.kept_fields.isdisjoint(fields._RULES)
        )

    def find_multiple(self, model: nn.Module) -> int:
        """Return the divisor of a subnet's input sides."""
        return 1


def _copy_element(element: Any) -> Any:
    from mmengine.structures import BaseDataElement

    if not isinstance(element, BaseDataElement):
        return element
    own = element.clone()
    for name, value in element.items():
        if isinstance(value, BaseDataElement):
            setattr(own, name, _copy_element(value))
    return own


_HANDLERS: Dict[str, SampleHandler] = {}


def register_handler(
    sample_type: str,
) -> Callable[[Type[SampleHandler]], Type[SampleHandler]]:
    """Register the handler of one type of sample, and of its subclasses.

    Args:
        sample_type: Full name of the class, such as
            ``mmpretrain.structures.data_sample.DataSample``. It is a name so
            that its toolbox is only imported when used.

    Example:
        >>> @register_handler('my_package.samples.MySample')
        ... class MySamples(SampleHandler):
        ...     def resize(self, sample, resizing):
        ...         height, width = resizing.scale
        ...         small = sample.clone()
        ...         small.points = sample.points * Tensor([width, height])
        ...         return small
    """

    def register(handler: Type[SampleHandler]) -> Type[SampleHandler]:
        _HANDLERS[sample_type] = handler()
        return handler

    return register


def find_handler(sample: Any) -> SampleHandler:
    """Find the handler of a sample's type, or else of its nearest base class.

    If none is registered, it is the default one, which cannot resize.

    Example:
        >>> find_handler(DataSample()).is_positional
        False
    """
    for cls in type(sample).__mro__:
        name = _get_name(cls)
        if name in _HANDLERS:
            return _HANDLERS[name]
    return SampleHandler()


def _get_name(cls: type) -> str:
    return f'{cls.__module__}.{cls.__qualname__}'


def resize_samples(
    samples: Optional[Sequence[Any]], resizing: Resizing
) -> Optional[List[Any]]:
    """Resize the annotations of a batch as its images were resized.

    Args:
        samples: The data samples of the main batch, or ``None``.
        resizing: How the images were resized.

    Raises:
        TypeError: If a sample's type has no handler.
        ValueError: If a loss would learn the padding of a target.

    Example:
        >>> half = Resizing(
        ...     (64, 96), (32, 48), (32, 48), divisor=1, model=model)
        >>> (sample,) = resize_samples([DataSample().set_gt_label(3)], half)
        >>> sample.gt_label
        tensor([3])
    """
    if samples is None:
        return None
    is_padded = resizing.padded_shape != resizing.resized_shape
    resized = []
    for sample in samples:
        handler = find_handler(sample)
        if is_padded:
            handler.check_padding(sample, resizing)
        if not handler.keeps(sample):
            sample = handler.resize(sample, resizing)
        resized.append(sample)
    return resized


def check_reproduced(
    samples: Optional[Sequence[Any]], resizing: Resizing
) -> None:
    """Reject targets that handlers do not reproduce at the main size.

    Such a handler would not make the right ones for a smaller image either.
    Numbers are compared to 1e-3, as targets encoded anew may be rounded.

    Args:
        samples: The data samples of the main batch, or ``None``.
        resizing: How these images are resized; only ``main_shape`` counts.

    Raises:
        ValueError: If a field of a sample is not reproduced.

    Example:
        >>> half = Resizing(
        ...     (64, 96), (32, 48), (32, 48), divisor=1, model=model)
        >>> check_reproduced([DataSample().set_gt_label(3)], half)
    """
    main = resizing.main_shape
    same = replace(resizing, resized_shape=main, padded_shape=main)
    copies = resize_samples(samples, same)
    for sample, copy in zip(samples or (), copies or ()):
        path = find_difference(sample, copy)
        if path is not None:
            raise ValueError(
                'cannot give subnets smaller inputs: made again at the main '
                f'size, {main} (h, w), `{path}` of {type(sample).__name__} is '
                "not the batch's own, so it would be wrong at other sizes. "
                'Probably a transform changed it that mmst does not know: for '
                "poses, one after GenerateTarget, or the head's decoder has "
                'another sigma or type than the encoder of GenerateTarget. '
                'Register a rule for it with '
                f"`mmst.targets.register_field('{path}')` or a handler with "
                f"`mmst.targets.register_handler('{_get_name(type(sample))}')`"
                f', or {NO_SIZES}'
            )


def find_difference(old: Any, new: Any) -> Optional[str]:
    """Find what of a value another one does not have, to 1e-3 in floats.

    Returns:
        The path to the first difference, such as ``gt_instances.bboxes``;
        empty if it is the value itself, ``None`` if there is none.
    """
    if old is new:
        return None
    parts, others = _get_parts(old), _get_parts(new)
    if parts is None or others is None:  # a number, text or an array
        return None if _are_close(old, new) else ''
    are_lists = all(isinstance(x, (list, tuple)) for x in (old, new))
    if len(old) != len(new) if are_lists else type(old) is not type(new):
        return ''
    for name, part in parts.items():
        path = find_difference(part, others[name]) if name in others else ''
        if path is not None:
            return f'{name}.{path}'.rstrip('.')
    return None


def _get_parts(value: Any) -> Optional[Dict[str, Any]]:
    """Get the parts of a value by their names; ``None`` if it has none."""
    if isinstance(value, Tensor):
        return None
    if hasattr(value, 'all_items'):  # MMEngine's elements
        return dict(value.all_items())
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        return {str(name): part for name, part in value.items()}
    return getattr(value, '__dict__', None)


def _are_close(old: Any, new: Any) -> bool:
    try:
        one, other = (torch.as_tensor(x).cpu().double() for x in (old, new))
    except (RuntimeError, TypeError, ValueError):  # text, or no numbers at all
        return bool(np.array_equal(np.asarray(old), np.asarray(new)))
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=0, atol=1e-3, equal_nan=True
    )
