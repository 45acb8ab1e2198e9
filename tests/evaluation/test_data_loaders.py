"""Data loaders without images, refused in the words of the config."""

import json

import pytest
from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from mmst.evaluation import (
    evaluate_subnet,
    get_train_loader,
    get_validation_loader,
)
from tests.analysis.evaluation_by_hand import loader


@DATASETS.register_module()
class Unreadable(BaseDataset):
    """Not every ValueError of a data set is that it is empty."""

    def load_data_list(self):
        raise ValueError('line 7 is odd')


@pytest.fixture
def packed(tmp_path):
    """A loader of an annotated data set in which nothing is left."""
    annotations = tmp_path / 'annotations.json'
    annotations.write_text(json.dumps(dict(metainfo={}, data_list=[])))
    dataset = dict(type='BaseDataset', ann_file=str(annotations))
    return dict(loader(4, 0), dataset=dataset)


def validating(val_dataloader):
    return dict(
        val_dataloader=val_dataloader,
        val_evaluator=dict(type='Accuracy'),
        val_cfg=dict(),
    )


@pytest.mark.parametrize('is_packed', [False, True])
def test_no_images(tiny_runner, packed, is_packed):
    nothing = packed if is_packed else loader(4, 0)
    runner = tiny_runner(**validating(nothing))
    message = 'no images: val_dataloader of the config yields no batch'
    for measure in (get_validation_loader, evaluate_subnet):
        with pytest.raises(ValueError, match=message):
            measure(runner)

    runner = tiny_runner(
        'other', train_dataloader=nothing, **validating(loader(4, 12))
    )
    with pytest.raises(ValueError, match='no images: train_dataloader'):
        evaluate_subnet(runner, (1, 1, 1))


def test_less_than_a_batch(tiny_runner):
    """All that there is, and then with the last batch left out."""
    runner = tiny_runner(train_dataloader=loader(4, 3))
    assert len(get_train_loader(runner)) == 1
    runner = tiny_runner(
        'other', train_dataloader=dict(loader(4, 3), drop_last=True)
    )
    with pytest.raises(ValueError, match='classes of its data set, and drop'):
        get_train_loader(runner)


def test_other_errors_are_left_as_they_are(tiny_runner):
    runner = tiny_runner(
        **validating(dict(loader(4, 12), dataset=dict(type='Unreadable')))
    )
    with pytest.raises(ValueError, match='^.*line 7 is odd$'):
        get_validation_loader(runner)
