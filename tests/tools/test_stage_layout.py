"""The tool for stage layouts, on configs of this repository."""

import pytest

from tests.conftest import ROOT

DEMO = ROOT / 'configs/demo/resnet20_stpp_mnistm5k.py'
VIT = ROOT / 'configs/st/vit-small_st_in1k.py'


def test_tables_numbers_and_picture(analyse, tmp_path, capsys):
    results = analyse(
        'stage_layout',
        tmp_path / 'out',
        DEMO,
        VIT,
        '--size',
        '32',
        '48',
        '--min-depths',
        '1',
        '2',
    )
    assert list(results) == ['resnet20_stpp_mnistm5k', 'vit-small_st_in1k']
    demo, vit = results.values()
    assert demo['blocks'] == dict(layer1=3, layer2=3, layer3=3)
    assert vit['blocks'] == dict(layers=12)
    assert demo['size'] == vit['size'] == [32, 48]
    assert demo['num_subnets'] == 3  # as in its hook
    assert [p['space'] for p in demo['proposals']] == [[3, 3, 3], [2, 2, 2]]
    assert [p['num_subnets'] for p in vit['proposals']] == [12, 11]
    printed = capsys.readouterr().out
    assert 'vit-small_st_in1k: layers 12; 32 x 48 px' in printed


def test_size_comes_from_the_config(analyse, tmp_path):
    results = analyse(
        'stage_layout',
        tmp_path / 'out',
        DEMO,
        '--cfg-options',
        'model.backbone.depth=32',
    )
    assert results[DEMO.stem]['size'] == [32, 32]
    assert results[DEMO.stem]['blocks'] == dict(layer1=5, layer2=5, layer3=5)


def test_configs_of_one_name_are_told_apart(analyse, tmp_path):
    paths = [tmp_path / folder / 'config.py' for folder in 'ab']
    for path, depth in zip(paths, (20, 32)):
        path.parent.mkdir()
        path.write_text(
            f"_base_ = '{DEMO}'\nmodel = dict(backbone=dict(depth={depth}))\n"
        )
    results = analyse('stage_layout', tmp_path / 'out', *paths)
    assert [
        (name, result['blocks']['layer1']) for name, result in results.items()
    ] == [(str(paths[0]), 3), (str(paths[1]), 5)]


@pytest.mark.parametrize(
    'error, message, args',
    [
        (ValueError, 'leaves no feature map', ['--size', '0', '32']),
        (
            ValueError,
            'no model.backbone',
            ['--cfg-options', 'model.backbone=None'],
        ),
        (
            TypeError,
            'no residual stages found in VGG',
            [
                '--cfg-options',
                'model.backbone._delete_=True',
                'model.backbone.type=VGG',
                'model.backbone.depth=11',
            ],
        ),
        (
            ValueError,
            '0 is not a whole number of at least 1',
            ['--min-depths', '0'],
        ),
    ],
)
def test_bad_input_leaves_nothing(refuse, tmp_path, error, message, args):
    refuse('stage_layout', tmp_path / 'out', error, message, DEMO, *args)
