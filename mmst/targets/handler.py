"""Handlers of data samples: what subnets need to know about each type."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Type

from torch import nn

from .resizing import Resizing


class SampleHandler:
    """Handles samples of one type; the defaults for all types.

    Register it with :func:`register_handler`. Import a toolbox only in the
    methods, which are called with its samples.

    Attributes:
        is_positional: Whether annotations say where something is in the
            image, so crops and flips must not move the pixels.

    Example:
        >>> SampleHandler().find_multiple(model)
        1
    """

    is_positional = True

    def resize(self, sample: Any, resizing: Resizing) -> Any:
        """Resize a sample's annotations as its image was resized.

        Args:
            sample: The main network's sample; it and its tensors must not be
                changed.
            resizing: How the batch of images was resized.

        Returns:
            A new sample.

        Raises:
            TypeError: If no handler is registered for the sample's type.
        """
        raise TypeError(
            'cannot give a subnet a smaller input: '
            f'{type(sample).__module__}.{type(sample).__qualname__} has no '
            f'handler. Known: {", ".join(_HANDLERS)}. Set neither '
            '`size_range` nor `sizes` in SubnetSamplerHook, or register one '
            'with `mmst.targets.register_handler`'
        )

    def copy(self, sample: Any) -> Any:
        """Copy a sample so that a pass may write into it.

        The losses of some heads do: mmdet's for instance masks put padded
        masks into their samples. Tensors are shared, since no head of the
        toolboxes writes into them.
        """
        return _copy_element(sample)

    def find_multiple(self, model: nn.Module) -> int:
        """Return the divisor of a subnet's input sides."""
        return 1

    def prepare_dataset(self, dataset: Any) -> None:
        """Make a data set's samples contain what :meth:`resize` needs.

        Called with every data set that subnets are trained on, of any type,
        before workers start, and again whenever its pipeline may have been
        replaced.
        """


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
        name = f'{cls.__module__}.{cls.__qualname__}'
        if name in _HANDLERS:
            return _HANDLERS[name]
    return SampleHandler()


def resize_samples(
    samples: Optional[Sequence[Any]], resizing: Resizing
) -> Optional[List[Any]]:
    """Resize the annotations of a batch as its images were resized.

    Args:
        samples: The data samples of the main batch, or ``None``.
        resizing: How the images were resized.

    Raises:
        TypeError: If a sample's type has no handler.

    Example:
        >>> half = Resizing(
        ...     (64, 96), (32, 48), (32, 48), divisor=1, model=model)
        >>> (sample,) = resize_samples([DataSample().set_gt_label(3)], half)
        >>> sample.gt_label
        tensor([3])
    """
    if samples is None:
        return None
    return [
        find_handler(sample).resize(sample, resizing) for sample in samples
    ]


def prepare_dataset(dataset: Any) -> None:
    """Let every handler prepare a data set for subnets.

    Args:
        dataset: Any data set, or one around others, before workers copy it.

    Example:
        >>> prepare_dataset(runner.train_dataloader.dataset)
    """
    for handler in _HANDLERS.values():
        handler.prepare_dataset(dataset)
