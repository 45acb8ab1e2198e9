"""Without one of the toolboxes the others work, and mmst says what to do.

Each case is an interpreter that finds the packages of this one, one missing.
"""

from functools import partial
from xml.etree import ElementTree

import pytest

from mmst.installation import TOOLBOXES, get_install_command
from tests.conftest import ROOT
from tests.environments import make_environment, run_process

# toolbox -> its task in tests/engine/dense_tasks.py, one of its configs
TASKS = dict(
    mmdet=('panoptic', 'st_det/mask-rcnn_r50-st-star_fpn_1x_coco.py'),
    mmseg=(
        'segmentation',
        'st_seg/fpn_r50-st-star_4xb2-adamw-80k_cityscapes-512x1024.py',
    ),
    mmpose=(
        'pose',
        'st_pose/td-hm_res50-st-star_8xb64-210e_coco-256x192.py',
    ),
)
USUAL = 'mmseg'


@pytest.fixture(
    params=[
        pytest.param(name, marks=[] if name == USUAL else pytest.mark.slow)
        for name in TASKS
    ]
)
def missing(request) -> str:
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def run_without(missing, tmp_path):
    """Run Python in the repository, in an environment without the toolbox."""
    project = TOOLBOXES[missing][0]
    names = (missing, project, f'onedl_{project}')
    python = make_environment(
        # The folder of the package, and NAME-VERSION.dist-info.
        tmp_path / 'environment',
        lambda entry: entry.split('-')[0] in names,
    )

    return partial(run_process, python, cwd=ROOT)


@pytest.mark.slow
def test_others_train(missing, run_without, tmp_path):
    report = tmp_path / 'report.xml'
    others = {name: task for name, (task, _) in TASKS.items()}
    if missing == 'mmdet':
        del others['mmpose']  # itself imports mmdet
    run_without(
        *('-m', 'pytest', '--slow', 'tests/engine/test_dense_tasks.py'),
        *('-k', f'whole_run and ({" or ".join(others.values())})'),
        *('-p', 'no:cacheprovider', f'--junitxml={report}'),
    )
    skipped = {
        case.get('name'): case.find('skipped') is not None
        for case in ElementTree.parse(report).iter('testcase')
    }
    assert skipped == {
        f'test_whole_run[{task}]': name == missing
        for name, task in others.items()
    }


def test_its_configs_say_what_to_install(missing, run_without):
    config = f'configs/{TASKS[missing][1]}'
    output = run_without('tools/train.py', config, status=1)
    assert output.splitlines()[-1] == (
        f"ModuleNotFoundError: The '{missing}::' base of {config} needs "
        f'{TOOLBOXES[missing][0]}: {get_install_command(missing)}'
    )


@pytest.mark.slow
@pytest.mark.parametrize('missing', ['mmdet'], indirect=True)
def test_pose_needs_detection(run_without):
    pytest.importorskip('mmpose')
    config = f'configs/{TASKS["mmpose"][1]}'
    output = run_without('tools/train.py', config, status=1)
    assert output.splitlines()[-1] == (
        'ModuleNotFoundError: mmpose itself needs mmdetection: '
        + get_install_command('mmdet')
    )
