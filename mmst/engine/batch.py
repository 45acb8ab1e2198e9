"""The batch of each pass: the main batch, and what subnets get of it."""

from math import gcd
from typing import (
    Any,
    Hashable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
)

from torch import Tensor, nn
from torch.utils._pytree import tree_map

from mmst.subnets import Subnet, SubnetInputs, pad_inputs
from mmst.subnets.inputs import find_shape
from mmst.targets import (
    Resizing,
    check_reproduced,
    find_batch_rule,
    find_handler,
    resize_samples,
)

SET_NO_SIZES = (
    'set neither `size_range` nor `sizes` in SubnetSamplerHook, nor '
    '`input_transforms` in train_cfg'
)


class PassBatches:
    """Makes the batch of each pass from the preprocessed main batch.

    Images shrink, and what stands in them: data samples by their handlers,
    other entries by rules registered with
    :func:`mmst.targets.register_field`. A batch of full size stays as it is,
    whatever its form.

    Args:
        data: The main batch, preprocessed; not changed.
        subnet_inputs: How subnets' inputs are made from the main input.
        model: The bare model, whose ``data_preprocessor`` made the batch.
        dataset: The training data set, for handlers; ``None`` if unknown.
        copy_inputs: Whether each pass gets a copy of its images, for models
            that write into them.
    """

    def __init__(
        self,
        data: Any,
        subnet_inputs: SubnetInputs,
        model: nn.Module,
        dataset: Any = None,
        copy_inputs: bool = False,
    ) -> None:
        self._main = self._last = data
        self._last_key: Hashable = None
        self._inputs = subnet_inputs
        self._model = model
        self._dataset = dataset
        self._copy_inputs = copy_inputs
        # Images of the last pass, each with its version.
        self._handed_out: List[Tuple[Tensor, int]] = []
        self._are_written = False

    def list_keys(self, passes: Sequence[Optional[Subnet]]) -> List[Hashable]:
        """List a key for each pass, equal for passes on the same input.

        Args:
            passes: Subnets, and ``None`` for the main network.
        """
        if not self._inputs.are_alike:
            return list(range(len(passes)))
        return [self._find_key(subnet) for subnet in passes]

    def make(self, subnet: Optional[Subnet]) -> Any:
        """Make a pass's batch; call it for passes on one input in a row.

        Args:
            subnet: A subnet; ``None`` for the main network.

        Raises:
            TypeError: If the inputs are not one batch of images, or an entry
                or a sample cannot be resized.
            ValueError: If a sample lacks what its resizing needs, or its
                padding would be trained.
            RuntimeError: If an earlier pass wrote into its images.
        """
        if self.were_inputs_written() and not self._copy_inputs:
            raise RuntimeError(
                'the model writes into its input images in place, which '
                'later passes need: let it make new tensors, or give each '
                'pass a copy of its images (copy_inputs=True in st_step; the '
                'ST train loops find that out in the first iteration)'
            )
        data = self._choose(subnet)
        if self._copy_inputs:
            data = _replace_inputs(data, _copy_tensors(_get_inputs(data)))
        self._handed_out = [
            (tensor, tensor._version)
            for tensor in _iter_tensors(_get_inputs(data))
        ]
        return _copy_samples(data)

    def were_inputs_written(self) -> bool:
        """Whether a pass has written into its images, copies or not."""
        self._are_written = self._are_written or any(
            tensor._version != version for tensor, version in self._handed_out
        )
        return self._are_written

    def _choose(self, subnet: Optional[Subnet]) -> Any:
        if subnet is None:
            return self._main
        key = self._find_key(subnet)
        if self._inputs.are_alike and key == self._last_key:
            return self._last
        source = self._last if self._inputs.chained else self._main
        self._last = self._resize(source, subnet)
        self._last_key = key
        return self._last

    def _find_key(self, subnet: Optional[Subnet]) -> Hashable:
        """Find the shape of a pass's images; ``None``: the main images'."""
        if subnet is None or subnet.size is None:
            return None
        images = get_images(self._main)
        multiple, _ = self._find_multiples()
        shape = find_shape(images, subnet.size, multiple)
        return None if shape == _get_shape(images) else shape

    def _find_multiples(self) -> Tuple[int, int]:
        """Find what the sides of images become multiples of.

        If the preprocessor pads no main batch, subnets' are not padded
        either: the network would learn what no main batch has.

        Returns:
            The number for resizing, and that for padding afterwards.
        """
        preprocessor = self._model.data_preprocessor
        # mmseg has its own names, and `None` for a fixed size.
        divisor = (
            getattr(preprocessor, 'pad_size_divisor', None)
            or getattr(preprocessor, 'size_divisor', None)
            or 1
        )
        samples = get_samples(self._main)
        multiple = 1
        if isinstance(samples, list) and samples:
            multiple = find_handler(samples[0]).find_multiple(self._model)
        if divisor == 1:
            return multiple, 1
        return 1, divisor * multiple // gcd(divisor, multiple)

    def _resize(self, data: Any, subnet: Subnet) -> Any:
        if subnet.size is None and not self._inputs.transforms:
            return data
        images = get_images(data)
        preprocessor = self._model.data_preprocessor
        multiple, divisor = self._find_multiples()
        small = self._inputs(
            images,
            subnet.size,
            getattr(preprocessor, 'mean', None),
            getattr(preprocessor, 'std', None),
            multiple,
        )
        if small.shape == images.shape:
            return _replace_inputs(data, small)
        # Padded as the preprocessor does, but not to a fixed size.
        value = getattr(
            preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0)
        )
        padded = pad_inputs(small, divisor, value)
        resizing = Resizing(
            _get_shape(images),
            _get_shape(small),
            _get_shape(padded),
            divisor,
            self._model,
            self._dataset,
        )
        return _resize_entries(_replace_inputs(data, padded), resizing)

    def check_targets(self, subnet: Subnet) -> None:
        """Reject targets that handlers cannot reproduce at the main size.

        A target that is not the batch's own there would be a wrong one at
        every other size, too.

        Args:
            subnet: A subnet; one on the main images needs no targets of its
                own.

        Raises:
            ValueError: If a target is not reproduced, by its field.
        """
        samples = get_samples(self._main)
        if self._find_key(subnet) is None or not isinstance(samples, list):
            return
        shape = _get_shape(get_images(self._main))
        _, divisor = self._find_multiples()
        check_reproduced(
            samples,
            Resizing(shape, shape, shape, divisor, self._model, self._dataset),
        )


def get_images(data: Any) -> Tensor:
    """Get the preprocessed images, (N, C, H, W), which can be resized.

    Raises:
        TypeError: If there is no such tensor.
    """
    inputs = _get_inputs(data)
    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        raise TypeError(
            "cannot change a subnet's input: the data preprocessor returns "
            f'no (N, C, H, W) tensor as `inputs`. S{SET_NO_SIZES[1:]}'
        )
    return inputs


def _get_shape(images: Tensor) -> Tuple[int, int]:
    height, width = images.shape[-2:]
    return height, width


def get_samples(data: Any) -> Any:
    """Get the data samples or labels of a batch; ``None`` if it has none."""
    if isinstance(data, dict):
        return data.get('data_samples')
    return data[1] if isinstance(data, (list, tuple)) and data[1:] else None


def _get_inputs(data: Any) -> Any:
    if isinstance(data, dict):
        return data.get('inputs')
    return data[0] if isinstance(data, (list, tuple)) and data else data


def _replace_inputs(data: Any, inputs: Any) -> Any:
    if isinstance(data, dict):
        return dict(data, inputs=inputs) if 'inputs' in data else data
    if isinstance(data, (list, tuple)) and data:
        return [inputs, *data[1:]]
    return inputs


def _copy_tensors(inputs: Any) -> Any:
    return tree_map(
        lambda item: item.clone() if isinstance(item, Tensor) else item, inputs
    )


def _iter_tensors(inputs: Any) -> Iterator[Tensor]:
    if isinstance(inputs, Tensor):
        yield inputs
    elif isinstance(inputs, dict):
        for item in inputs.values():
            yield from _iter_tensors(item)
    elif isinstance(inputs, (list, tuple)):
        for item in inputs:
            yield from _iter_tensors(item)


def _copy_samples(data: Any) -> Any:
    """Return the batch with samples that a pass may write into."""
    samples = data.get('data_samples') if isinstance(data, dict) else None
    if not isinstance(samples, list):
        return data
    return dict(data, data_samples=[find_handler(s).copy(s) for s in samples])


def _resize_entries(data: Any, resizing: Resizing) -> Any:
    """Resize all that a batch has besides its images."""
    if not isinstance(data, dict):
        own = {f'entry {i}': value for i, value in enumerate(data[1:], 1)}
        return [data[0], *_resize_entries(own, resizing).values()]
    return {
        name: value
        if name == 'inputs'
        else _resize_entry(name, value, resizing)
        for name, value in data.items()
    }


def _resize_entry(name: str, value: Any, resizing: Resizing) -> Any:
    if name == 'data_samples' and isinstance(value, (list, tuple)):
        return resize_samples(value, resizing)
    if value is None or isinstance(value, (str, bool)):
        return value
    rule = find_batch_rule(name)
    if rule is not None:
        return rule(value, resizing)
    if isinstance(value, Tensor) and value.ndim == 1:
        if not value.is_floating_point():  # class labels, one for each image
            return value
    raise TypeError(
        f'cannot give a subnet a smaller input: nothing says how `{name}` of '
        f'the batch ({type(value).__name__}) shrinks with the images. '
        'Register a rule for it with '
        f"`mmst.targets.register_field('{name}')`, which is "
        '`mmst.targets.keep` if it does not depend on the size, or '
        f'{SET_NO_SIZES}'
    )


def check_transforms(data: Any, subnet_inputs: SubnetInputs) -> None:
    """Reject transforms that move pixels but not their annotations.

    Args:
        data: A batch.
        subnet_inputs: How subnets' inputs are made from the main input.

    Raises:
        ValueError: If pixels are moved and annotations say where things are.
    """
    moved = {'crop', 'flip'} & set(subnet_inputs.transforms)
    samples = get_samples(data)
    for sample in samples if moved and isinstance(samples, list) else ():
        if find_handler(sample).is_positional:
            raise ValueError(
                f'input_transforms in train_cfg has {sorted(moved)}, which '
                'move pixels under the annotations of '
                f'{type(sample).__name__}: they are for classification only'
            )
