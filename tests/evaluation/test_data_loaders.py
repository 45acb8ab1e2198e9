"""Data loaders without images, refused in the words of the config."""

import pytest
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from mmst.evaluation import (
    evaluate_subnet,
    get_train_loader,
    get_validation_loader,
)
from tests.analysis.evaluation_by_hand import VALIDATION, loader


@DATASETS.register_module()
class Unreadable(BaseDataset):
    """Not every ValueError of a data set is that it is empty."""

    def load_data_list(self):
        raise ValueError('line 7 is odd')


def validating(tiny_runner, val_dataloader, **options):
    validation = dict(VALIDATION, val_dataloader=val_dataloader)
    return tiny_runner(**validation, **options)


@pytest.mark.parametrize('is_packed', [False, True])
def test_no_images(tiny_runner, tmp_path, is_packed):
    """None at all, or an annotated data set in which nothing is left."""
    nothing = loader(4, 0)
    if is_packed:
        file = tmp_path / 'annotations.json'
        file.write_text('{"metainfo": {}, "data_list": []}')
        nothing['dataset'] = dict(type='BaseDataset', ann_file=str(file))
    runner = validating(tiny_runner, nothing)
    message = 'no images: val_dataloader of the config yields no batch'
    for measure in (get_validation_loader, evaluate_subnet):
        with pytest.raises(ValueError, match=message):
            measure(runner)
    runner = validating(
        tiny_runner, loader(4, 12), name='other', train_dataloader=nothing
    )
    with pytest.raises(ValueError, match='no images: train_dataloader'):
        evaluate_subnet(runner, (1, 1, 1))


def test_less_than_a_batch(tiny_runner):
    """All that there is, and then with the last batch left out."""
    few = loader(4, 3)
    assert len(get_train_loader(tiny_runner(train_dataloader=few))) == 1
    runner = tiny_runner('other', train_dataloader=dict(few, drop_last=True))
    with pytest.raises(ValueError, match='classes of its data set, and drop'):
        get_train_loader(runner)


def test_other_errors_are_left_as_they_are(tiny_runner):
    unreadable = dict(loader(4, 12), dataset=dict(type='Unreadable'))
    with pytest.raises(ValueError, match='^.*line 7 is odd$'):
        get_validation_loader(validating(tiny_runner, unreadable))
