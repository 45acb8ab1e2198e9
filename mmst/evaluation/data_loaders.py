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
    training needs its own loader. The data set's config is the training's by
    default.

    Example:
        >>> build_train_loader(runner) is get_train_loader(runner)
        False
    """
    config = dict(runner.cfg.train_dataloader, persistent_workers=False)
    config['dataset'] = dataset or config['dataset']
    diff_rank_seed = runner._randomness_cfg.get('diff_rank_seed', False)
    return runner.build_dataloader(config, runner.seed, diff_rank_seed)


def preprocess_unmixed(model: nn.Module, data: Any) -> Dict[str, Any]:
    """Preprocess a batch of training images without Mixup or CutMix.

    Otherwise as in training, since mmsegmentation pads images of different
    sizes only there.

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
        if loop is None or len(loop.dataloader) > 0:
            return loop and loop.dataloader
    except ValueError as error:
        # NumPy's message when MMEngine packs an empty data set.
        if 'need at least one array to concatenate' not in str(error):
            raise
    raise ValueError(
        f'no images: {kind}_dataloader of the config yields no batch. Check '
        'the paths, filters and classes of its data set, and drop_last'
    )
