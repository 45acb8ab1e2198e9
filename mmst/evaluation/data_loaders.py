"""The data loaders of a config, and their batches."""

from typing import Any, Dict, NoReturn, Optional

from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


def get_validation_loader(runner: Runner) -> DataLoader[Any]:
    """The runner's loader of validation images.

    Raises:
        ValueError: If the config has no validation, or no image for it.

    Example:
        >>> len(get_validation_loader(runner))  # batches
        3
    """
    loader = _find_loader(runner, 'val')
    if loader is None:
        raise ValueError(
            'the config has no validation: set '
            'val_dataloader, val_evaluator and val_cfg'
        )
    return loader


def get_train_loader(runner: Runner) -> DataLoader[Any]:
    """The runner's loader of training images, for BatchNorm statistics.

    Raises:
        ValueError: If the config has no training, or none of its
            images can be read.

    Example:
        >>> len(get_train_loader(runner))  # batches
        3
    """
    try:
        loader = _find_loader(runner, 'train')
    except OSError as error:
        raise ValueError(
            f'the training images cannot be read ({error}): set the paths in '
            'train_dataloader.dataset of the config'
        ) from error
    if loader is None:
        raise ValueError(
            "a subnet's BatchNorm statistics are re-estimated from training "
            'images, and the config has none: set train_dataloader, '
            'train_cfg and optim_wrapper'
        )
    return loader


def build_train_loader(
    runner: Runner, dataset: Optional[Dict[str, Any]] = None
) -> DataLoader[Any]:
    """A separate training data loader.

    Built for every use: infinite samplers start only once, and a running
    training needs its own loader.

    Args:
        runner: The runner.
        dataset: Config of the data set; default: that of the training.

    Example:
        >>> build_train_loader(runner) is get_train_loader(runner)
        False
    """
    config = dict(runner.cfg.train_dataloader, persistent_workers=False)
    if dataset is not None:
        config['dataset'] = dataset
    return runner.build_dataloader(
        config,
        runner.seed,
        runner._randomness_cfg.get('diff_rank_seed', False),
    )


def preprocess_unmixed(model: nn.Module, data: Any) -> Dict[str, Any]:
    """Preprocess a batch of training images without Mixup or CutMix.

    As in training, since mmsegmentation pads images of several sizes to one
    there only.

    Args:
        model: A model of MMEngine's kind.
        data: The batch, as it comes from a data loader.

    Example:
        >>> preprocess_unmixed(model, data_batch)['inputs'].shape
        torch.Size([6, 3, 16, 16])
    """
    preprocessor = model.data_preprocessor
    mixing = {
        module: module.batch_augments
        for module in preprocessor.modules()
        if getattr(module, 'batch_augments', None) is not None
    }
    try:
        for module in mixing:
            module.batch_augments = None
        return preprocessor(data, True)
    finally:
        for module, augments in mixing.items():
            module.batch_augments = augments


def _find_loader(runner: Runner, kind: str) -> Optional[DataLoader[Any]]:
    """The loader of a loop, which is built with it; None if there is none."""
    try:
        loop = getattr(runner, f'{kind}_loop')
    except ValueError as error:
        # What NumPy says when MMEngine packs the entries of an empty data set.
        if 'need at least one array to concatenate' in str(error):
            _refuse_empty(kind, error)
        raise
    if loop is None:
        return None
    # In batches: of too few images drop_last leaves none. Iterating over an
    # empty data set is what samplers of MMEngine do not expect.
    if len(loop.dataloader) == 0:
        _refuse_empty(kind)
    return loop.dataloader


def _refuse_empty(kind: str, cause: Optional[ValueError] = None) -> NoReturn:
    raise ValueError(
        f'no images: {kind}_dataloader of the config yields no batch. Check '
        'the paths, filters and classes of its data set, and drop_last'
    ) from cause
