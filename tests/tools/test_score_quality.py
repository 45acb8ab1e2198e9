"""The tool for scores: three forms of them, and Eq. 12."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from mmst.analysis.score_quality import compute_bound
from mmst.launch.trained_runner import load_trained_runner

ST = [
    'model.head._delete_=True',
    'model.head.type=mmst.STClsHead',
    'model.head.loss_kl.type=mmst.KLMinusLoss',
    'model.head.loss_kl.normalize=l2',
    'model.head.normalize_main=True',
    'model.head.head.type=LinearClsHead',
    'model.head.head.num_classes=2',
    'model.head.head.in_channels=64',
    'custom_imports.imports=[mmst]',
]


def test_tables_numbers_and_picture(
    analyse, trained, config, tmp_path, capsys
):
    run = ('--run', 'net', config, str(trained / 'epoch_1.pth'))
    depths = ('--depths', '1-1-1-1')
    plain = analyse('score_quality', tmp_path / 'plain', *run, *depths)
    said = capsys.readouterr().out
    normalised = analyse(
        'score_quality',
        tmp_path / 'st',
        *run,
        *depths,
        '--cfg-options',
        *ST,
    )
    networks = plain['net']['networks']
    assert list(networks) == ['main', '1-1-1-1']
    # The four images through the bare model.
    runner = load_trained_runner(config, run[-1], tmp_path / 'again')
    model, logits, labels = runner.model, [], []
    model.eval()
    with torch.no_grad():
        for data in runner.val_dataloader:
            labels += [int(s.gt_label) for s in data['data_samples']]
            data = model.data_preprocessor(data, False)
            logits.append(model(data['inputs']))
    logits, labels = torch.cat(logits), torch.tensor(labels)
    for form in ('raw', 'predicted'):
        assert networks['main']['cross_entropy'][form] == pytest.approx(
            F.cross_entropy(logits, labels).item(), rel=1e-5
        )
    unit = logits / logits.norm(dim=1, keepdim=True)
    assert normalised['net']['networks']['main']['cross_entropy'][
        'predicted'
    ] == pytest.approx(F.cross_entropy(unit, labels).item(), rel=1e-5)
    temperature = networks['main']['temperature']
    assert networks['main']['cross_entropy']['calibrated'] == pytest.approx(
        F.cross_entropy(logits / temperature, labels).item(), rel=1e-5
    )
    gap = abs(
        networks['main']['cross_entropy']['predicted']
        - networks['1-1-1-1']['cross_entropy']['predicted']
    )
    assert plain['net']['bound']['gap'] == pytest.approx(gap)
    assert 'ECE calibrated (%)' in said and f'{gap:.3f}' in said
    json.dumps(plain)


def test_bound_against_the_equation():
    generator = torch.Generator().manual_seed(0)
    main, *subnets = torch.randn(
        3, 20, 7, generator=generator, dtype=torch.float64
    )
    labels = torch.randint(7, (20,), generator=generator)
    found = compute_bound(main, subnets, labels)
    p = main.softmax(1)

    def loss(logits):
        return -logits.softmax(1)[range(20), labels].log().mean()

    divergence = sum(
        (p * (p / s.softmax(1)).log()).sum(1).mean() for s in subnets
    ) / len(subnets)
    first = loss(main)
    bound = (divergence + math.log(7)) / torch.exp(-first) + first
    assert found.divergence == pytest.approx(divergence.item())
    assert found.bound == pytest.approx(bound.item())
    assert found.gap == pytest.approx(
        abs(first - sum(map(loss, subnets)) / len(subnets)).item()
    )
    assert found.bound > found.chance == pytest.approx(math.log(7))
