"""The data loaders of a config, and their batches."""

from typing import Any, Dict, Optional

from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


def get_validation_loader(runner: Runner) -> DataLoader[Any]:
    """Get the runner's loader of validation images.

    Raises:
        ValueError: If the config has no validation, or no images for it.

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
    """Get the runner's loader of training images, for BatchNorm statistics.

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
    """Build a separate training data loader.

    Build one for every use: infinite samplers start only once, and a running
    training needs its own loader.

    Args:
        runner: The runner.
        dataset: Config of the data set; default: the training's.

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

    Otherwise as in training, since mmsegmentation pads images of different
    sizes only there.

    Args:
        model: A model of MMEngine.
        data: The batch from a data loader.

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
    """Find the loader of a loop, which is built with it; ``None`` if none."""
    try:
        loop = getattr(runner, f'{kind}_loop')
        # In batches, since drop_last may leave none. Samplers of MMEngine
        # cannot iterate over an empty data set.
        is_empty = loop is not None and len(loop.dataloader) == 0
    except ValueError as error:
        # NumPy's message when MMEngine packs an empty data set.
        is_empty = 'need at least one array to concatenate' in str(error)
        if not is_empty:
            raise
    if is_empty:
        raise ValueError(
            f'no images: {kind}_dataloader of the config yields no batch. '
            'Check the paths, filters and classes of its data set, and '
            'drop_last'
        )
    return loop and loop.dataloader
