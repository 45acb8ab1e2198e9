"""Pose models whose subnets cannot have smaller inputs say so."""

import re

import pytest
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.registry import init_default_scope

pytest.importorskip('mmpose')
from mmpose.codecs import MSRAHeatmap  # noqa: E402
from mmpose.registry import KEYPOINT_CODECS, MODELS, TRANSFORMS  # noqa: E402

from tests.targets.batches import shrunk  # noqa: E402
from tests.targets.people import (  # noqa: E402
    JOINTS,
    People,
    codec_cfg,
    head_cfg,
    model_for,
    packed,
    pipeline,
)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpose')


def test_keypoints_have_to_be_packed(tmp_path):
    """The error has the line to add to a config that inherits mmpose's."""
    model = model_for(head_cfg('msra'))
    people = People(pipeline('msra', pack=False))
    data = packed(model, people.pipeline)
    with pytest.raises(ValueError) as error:
        shrunk(data, 83, model, people)
    line = re.search('`(train_dataloader = .*)`. Or', str(error.value))[1]
    base = (
        'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
        'td-hm_res50_8xb64-210e_coco-256x192.py'
    )
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = {base!r}\n{line}\n')
    end = Config.fromfile(path).train_dataloader.dataset.pipeline[-1]
    assert end == dict(type='PackPoseInputs', pack_transformed=True)
    people.pipeline.transforms[-1] = TRANSFORMS.build(end)
    assert shrunk(packed(model, people.pipeline), 83, model, people)


def test_bottom_up_models_are_refused():
    """Not by advice about TopdownAffine, which they cannot have."""
    sizes = dict(input_size=(128, 256), heatmap_size=(32, 64), sigma=(4, 2))
    codec = dict(type='SPR', generate_keypoint_heatmaps=True, **sizes)
    head = dict(type='DEKRHead', in_channels=64, num_keypoints=JOINTS)
    dekr = dict(
        type='BottomupPoseEstimator',
        backbone=dict(type='ResNet', depth=18, base_channels=8),
        head=dict(head, decoder=codec),
    )
    data = packed(model_for(head_cfg('msra')), pipeline('msra', pack=False))
    told = 'top-down models alone((?!pack_transformed).)* set neither'
    with pytest.raises(ValueError, match=told):
        shrunk(data, 83, MODELS.build(dekr))


@KEYPOINT_CODECS.register_module()
class Forgetful(MSRAHeatmap):
    """A codec that cannot be built for another size."""

    def __init__(self, size, cells, spread):
        super().__init__(size, cells, spread)


ONE_SIZE = dict(in_channels=64, in_featuremap_size=(4, 8))
PER_CELL = dict(ONE_SIZE, out_channels=JOINTS, input_size=(128, 256))
UPSAMPLED = dict(
    **dict(ONE_SIZE, num_joints=JOINTS),
    **dict(deconv_out_channels=(8,), deconv_kernel_sizes=(4,)),
)
FORGETFUL = dict(type='Forgetful', size=(128, 256), cells=(32, 64), spread=2.0)
ANNOTATION = dict(type='YOLOXPoseAnnotationProcessor')
HEADS = {
    'SimCCHead has layers': dict(PER_CELL, deconv_out_channels=None),
    'RTMCCHead has layers': PER_CELL,
    'IntegralRegressionHead has layers': UPSAMPLED,
    'DSNTHead has layers': UPSAMPLED,
    'HeatmapHead has no codec': dict(decoder=None),
    # If the pipeline is not known; its encoder decides elsewhere.
    'RegressionLabel does not encode `gt_fields.heatmaps`': dict(
        decoder=codec_cfg('regression')
    ),
    r"options \['size', 'cells', 'spread'\] as": dict(decoder=FORGETFUL),
    r"also needs \['bbox', 'category_id'\]": dict(decoder=ANNOTATION),
}


@pytest.mark.parametrize('told', HEADS)
def test_heads_and_codecs_of_one_size_are_refused(told):
    if 'decoder' in HEADS[told]:
        head, name = dict(head_cfg('msra'), **HEADS[told]), 'msra'
    else:
        head, name = dict(HEADS[told], type=told.split()[0]), 'simcc'
    model = model_for(head)
    data = packed(model, pipeline(name))
    with pytest.raises(TypeError, match=f'{told}.* set neither'):
        shrunk(data, 83, model)


@pytest.mark.parametrize(
    'number, multilevel, field',
    [
        (2, True, 'heatmaps'),
        # Weights of encoders in a list are stacked.
        (1, False, 'keypoint_weights'),
    ],
)
def test_encoders_in_a_list_are_refused(number, multilevel, field):
    model = model_for(head_cfg('megvii'))
    several = [codec_cfg('megvii')] * number
    people = People(pipeline(several, multilevel=multilevel))
    data = packed(model, people.pipeline)
    with pytest.raises(TypeError, match='has a list of encoders'):
        shrunk(data, 83, model, people)
    with pytest.raises(TypeError, match=f'not encode `gt_.*{field}` as'):
        shrunk(data, 83, model)


@pytest.mark.parametrize(
    'other, told',
    [
        (dict(type='MSRAHeatmap', sigma=3.0), 'differ in sigma'),
        (dict(type='UDPHeatmap'), 'MSRAHeatmap and UDPHeatmap:'),
    ],
)
def test_encoders_that_differ_are_refused(other, told):
    """Samples do not tell which of the data sets they are from."""
    model = model_for(head_cfg('msra'))
    alike = [People(pipeline('msra')) for _ in range(2)]
    data = packed(model, alike[0].pipeline)
    assert shrunk(data, 83, model, ConcatDataset(alike))
    others = People(pipeline(dict(codec_cfg('msra'), **other)))
    with pytest.raises(ValueError, match=f'several encoders, .*{told}'):
        shrunk(data, 83, model, ConcatDataset([*alike, others]))
