"""Data and options that make the demo's configs train for a second."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='module')
def few_digits(tmp_path_factory) -> Path:
    """Images of two classes, 16 to train on and 80 to validate."""
    data = tmp_path_factory.mktemp('few_digits')
    generator = np.random.default_rng(0)
    for split, number in (('train', 8), ('val', 40)):
        for label in '01':
            folder = data / split / label
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = generator.integers(
                    256, size=(32, 32, 3), dtype=np.uint8
                )
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return data


@pytest.fixture(scope='module')
def few_digits_options(few_digits) -> list:
    """To train on these, without crops."""
    return [
        '--cfg-options',
        f'train_dataloader.dataset.data_root={few_digits}',
        f'val_dataloader.dataset.data_root={few_digits}',
        'train_dataloader.batch_size=16',
        'train_dataloader.dataset.pipeline.1.padding=0',
    ]
