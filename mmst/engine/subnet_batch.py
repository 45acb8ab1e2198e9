"""A subnet's batch: the main batch and its annotations, resized."""

from math import gcd
from typing import Any, Optional, Sequence, Tuple

from torch import Tensor, nn

from mmst.subnets import Subnet, SubnetInputs, pad_inputs
from mmst.targets import Resizing, find_handler, resize_samples


def copy_samples(data: Any) -> Any:
    """Return the batch with samples that a pass may write into."""
    samples = data.get('data_samples') if isinstance(data, dict) else None
    if not isinstance(samples, list):
        return data
    return dict(data, data_samples=[find_handler(s).copy(s) for s in samples])


def check_transforms(data_batch: Any, subnet_inputs: SubnetInputs) -> None:
    """Refuse transforms that move pixels but not their annotations.

    Args:
        data_batch: A batch as it comes from the data loader.
        subnet_inputs: Makes subnets' inputs from the main input.

    Raises:
        ValueError: If pixels are moved and annotations say where things are.
    """
    moved = {'crop', 'flip'} & set(subnet_inputs.transforms)
    samples = (
        data_batch.get('data_samples')
        if isinstance(data_batch, dict)
        else None
    )
    for sample in samples or ():
        if moved and find_handler(sample).is_positional:
            raise ValueError(
                f'input_transforms in train_cfg has {sorted(moved)}, which '
                'move pixels under the annotations of '
                f'{type(sample).__name__}: they are for classification only'
            )


def make_subnet_batch(
    data: Any, subnet: Subnet, subnet_inputs: SubnetInputs, model: nn.Module
) -> Any:
    """Make a subnet's batch from the preprocessed main batch.

    A smaller batch is padded to a multiple of the data preprocessor's size
    divisor, as the main one is, but not to the fixed size of the main batch.

    Args:
        data: ``inputs``, (N, C, H, W), and ``data_samples``. Neither is
            changed.
        subnet: The subnet.
        subnet_inputs: Makes its input from the main input.
        model: The model, whose ``data_preprocessor`` normalised and padded.

    Raises:
        TypeError: If the inputs are not one batch of images, or the samples
            are of a type that cannot be resized.
        ValueError: If a sample lacks what its resizing needs.
    """
    if subnet.size is None and not subnet_inputs.transforms:
        return data
    inputs = get_images(data)
    mean, std = (
        getattr(model.data_preprocessor, name, None)
        for name in ('mean', 'std')
    )
    small = subnet_inputs(inputs, subnet.size, mean, std)
    if small.shape == inputs.shape:
        return dict(data, inputs=small)
    samples = data.get('data_samples')
    divisor, pad_value = find_padding(model, samples)
    padded = pad_inputs(small, divisor, pad_value)
    resizing = Resizing(
        _get_shape(inputs),
        _get_shape(small),
        _get_shape(padded),
        divisor,
        model,
    )
    return dict(
        data,
        inputs=padded,
        data_samples=resize_samples(samples, resizing),
    )


def get_images(data: Any) -> Tensor:
    """Get the preprocessed images, (N, C, H, W), which can be resized.

    Raises:
        TypeError: If there is no such tensor.
    """
    inputs = data.get('inputs') if isinstance(data, dict) else None
    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        raise TypeError(
            "cannot change a subnet's input: the data preprocessor returns "
            'no (N, C, H, W) tensor as `inputs`. Set neither `size_range` nor '
            '`sizes` in SubnetSamplerHook, nor `input_transforms` in train_cfg'
        )
    return inputs


def _get_shape(images: Tensor) -> Tuple[int, int]:
    height, width = images.shape[-2:]
    return height, width


def find_padding(
    model: nn.Module, samples: Optional[Sequence[Any]]
) -> Tuple[int, float]:
    """Return the divisor of input sides, and the padding value."""
    preprocessor = model.data_preprocessor
    # mmseg has its own names, and `None` for a fixed size.
    divisor = (
        getattr(preprocessor, 'pad_size_divisor', None)
        or getattr(preprocessor, 'size_divisor', None)
        or 1
    )
    for sample in (samples or ())[:1]:
        multiple = find_handler(sample).find_multiple(model)
        divisor = divisor * multiple // gcd(divisor, multiple)
    value = getattr(
        preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0)
    )
    return divisor, value
