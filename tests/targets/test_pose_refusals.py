"""Pose models whose subnets cannot have smaller inputs say so."""

import pytest
from mmengine.registry import init_default_scope

pytest.importorskip('mmpose')
from mmpose.registry import TRANSFORMS  # noqa: E402

from tests.targets.people import (  # noqa: E402
    JOINTS,
    codec_cfg,
    head_cfg,
    model_for,
    packed,
    pipeline,
    shrunk,
)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpose')


def test_keypoints_have_to_be_packed():
    model = model_for(head_cfg('msra'))
    data = packed(model, pipeline('msra', pack=False))
    with pytest.raises(ValueError, match='PackPoseInputs.*pack_transformed=T'):
        shrunk(data, 83, model)
    assert shrunk(data, None, model) is data


FIXED = [
    dict(
        type='SimCCHead',
        in_channels=64,
        out_channels=JOINTS,
        input_size=(128, 256),
        in_featuremap_size=(4, 8),
        deconv_out_channels=None,
    ),
    dict(
        type='RTMCCHead',
        in_channels=64,
        out_channels=JOINTS,
        input_size=(128, 256),
        in_featuremap_size=(4, 8),
    ),
    dict(
        type='IntegralRegressionHead',
        in_channels=64,
        num_joints=JOINTS,
        in_featuremap_size=(4, 8),
        deconv_out_channels=(8,),
        deconv_kernel_sizes=(4,),
    ),
    dict(
        type='DSNTHead',
        in_channels=64,
        num_joints=JOINTS,
        in_featuremap_size=(4, 8),
        deconv_out_channels=(8,),
        deconv_kernel_sizes=(4,),
    ),
]


@pytest.mark.parametrize('head', FIXED, ids=[h['type'] for h in FIXED])
def test_heads_of_one_size_are_refused(head):
    model = model_for(head)
    data = packed(model, pipeline('simcc'))
    with pytest.raises(TypeError, match=head['type'] + ' has layers for one'):
        shrunk(data, 83, model)
    assert shrunk(data, 1.0, model)['data_samples'] is data['data_samples']


def test_a_head_without_codec_is_refused():
    model = model_for(dict(head_cfg('msra'), decoder=None))
    data = packed(model, pipeline('msra'))
    with pytest.raises(TypeError, match='HeatmapHead has no codec'):
        shrunk(data, 83, model)


def test_several_codecs_are_refused():
    model = model_for(head_cfg('megvii'))
    levels = pipeline('megvii')
    levels.transforms[4] = TRANSFORMS.build(
        dict(
            type='GenerateTarget',
            multilevel=True,
            encoder=[codec_cfg('megvii'), codec_cfg('megvii')],
        )
    )
    with pytest.raises(TypeError, match='levels .* has only MegviiHeatmap'):
        shrunk(packed(model, levels), 83, model)


def test_another_codec_than_the_pipeline_s_is_refused():
    model = model_for(dict(head_cfg('msra'), decoder=codec_cfg('regression')))
    data = packed(model, pipeline('msra'))
    with pytest.raises(
        TypeError, match='RegressionLabel, .* does not encode `heatmaps`'
    ):
        shrunk(data, 83, model)


def test_weights_of_another_shape_are_refused():
    """Of encoders in a list the weights are stacked."""
    model = model_for(head_cfg('msra'))
    listed = pipeline('msra')
    listed.transforms[4] = TRANSFORMS.build(
        dict(type='GenerateTarget', encoder=[codec_cfg('msra')])
    )
    with pytest.raises(TypeError, match='not encode `keypoint_weights` as'):
        shrunk(packed(model, listed), 83, model)


def test_a_codec_that_needs_more_is_refused():
    model = model_for(
        dict(
            head_cfg('msra'), decoder=dict(type='YOLOXPoseAnnotationProcessor')
        )
    )
    data = packed(model, pipeline('msra'))
    with pytest.raises(TypeError, match=r"also needs \['.*'\]"):
        shrunk(data, 83, model)
