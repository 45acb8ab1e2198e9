"""The first hour's commands, one after the other, as in a fresh clone.

Then those of two pages that go on from there.
"""

import math
import os
import shlex
import shutil

import pytest
import torch

from mmst.checkpoints import read_checkpoint
from tests.conftest import ROOT, logged, run_alone

from .blocks import commands_of

RESNET = """
model['backbone'].update(base_channels=8, stem_channels=8)
model['head']['head']['in_channels'] = 64
for loader in (train_dataloader, val_dataloader):
    loader.update(batch_size=4, num_workers=0)
    loader['dataset']['indices'] = 8
default_hooks['logger'].update(interval=1)
"""
#: Appended to the copied configs, so that they run in seconds.
SMALL = {
    'my_images.py': RESNET,
    'my_new_style.py': RESNET,
    'my_detector.py': """
model['backbone'].update(base_channels=8, stem_channels=8)
model['neck'].update(in_channels=[8, 16, 32, 64], out_channels=16)
model['rpn_head'] = dict(in_channels=16, feat_channels=16)
model['roi_head'] = dict(
    bbox_roi_extractor=dict(out_channels=16),
    bbox_head=dict(in_channels=16, fc_out_channels=16),
    mask_roi_extractor=dict(out_channels=16),
    mask_head=dict(in_channels=16, conv_out_channels=16))
default_hooks['logger']['interval'] = 1
""",
}
#: Appended to commands, for the same reason.
FEWER = {
    'demo/dataset_converters/digit_scenes.py': '--num-train 4 --num-val 2',
    'tools/analysis_tools/accuracy_cost.py': '--seconds 0 --max-subnets 2',
}


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with what the commands read of a clone, to run them in."""
    for name in ('configs', 'demo', 'docs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, load_tool) -> None:
    program, *args = shlex.split(command)
    if program == 'cp':
        shutil.copy(*args)
        name = os.path.basename(args[0])
        with open(name, 'a') as file:
            file.write(SMALL[name])
    elif program == 'python':
        args += shlex.split(FEWER.get(args[0], ''))
        path = args.pop(0)[: -len('.py')]
        run_alone(load_tool(path).main)(args)
    elif command == 'bash tools/quickstart.sh':
        # The installation is there, and the demo would train for minutes.
        load_tool('demo/dataset_converters/mnistm5k').main([])
    else:
        assert command == 'source .venv/bin/activate'


def test_first_hour(clone, load_tool, digit_scenes_tool, capfd):
    commands = commands_of(ROOT / 'docs/first_hour.md')
    assert len(commands) >= 10
    for command in commands:
        run(command, load_tool)
    work = clone / 'work_dirs'
    for name in ('my_images', 'my_detector'):
        steps = [r for r in logged(work / name) if 'subnet0_loss' in r]
        assert steps and all(math.isfinite(step['loss']) for step in steps)
    # The detector has begun with the pretrained backbone, whose first stage
    # it freezes.
    first, second = (
        read_checkpoint(str(work / name / 'epoch_2.pth'))['state_dict'][
            'backbone.layer1.0.conv1.weight'
        ]
        for name in ('my_images', 'my_detector')
    )
    assert torch.equal(first, second)
    subnet = read_checkpoint(str(work / 'my_subnet/my_images_1-2-2-1.pth'))
    assert 'backbone.layer1.1.conv1.weight' not in subnet['state_dict']
    assert 'backbone.layer2.1.conv1.weight' in subnet['state_dict']
    # The last command tests it.
    assert (
        'accuracy/top1' in capfd.readouterr().out.rpartition('Written to')[2]
    )
    # The page that goes on from there. A detector that is trained so little
    # finds nothing, so that it has no metric.
    for command in commands_of(ROOT / 'docs/how_to/choose_a_network.md'):
        if 'my_detector' not in command and 'train.py' not in command:
            run(command, load_tool)
    for name in ('small', 'good_enough'):
        assert [*(work / name).glob('my_images_*.pth')]
    # The same digits, by a config in MMEngine's new style.
    for command in commands_of(ROOT / 'docs/how_to/new_style_config.md'):
        run(command, load_tool)
    steps = logged(work / 'my_new_style')
    assert sum('subnet2_loss' in step for step in steps) == 4
    assert all(math.isfinite(step.get('loss', 0)) for step in steps)
    scored = str(logged(work / 'my_new_style', 'subnets.json'))
    assert '1-1-1-1' in scored and '2-2-2-2' in scored
