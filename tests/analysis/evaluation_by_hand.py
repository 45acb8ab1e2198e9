"""What tells subnets apart finely, and their scores in plain PyTorch."""

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from tests import conftest
from tests.conftest import TinyImages

# The validation set's first 12 images are the training set's.
NUM_TRAIN, NUM_VAL = 12, 40


@METRICS.register_module()
class MeanScore(BaseMetric):
    """Mean probability of the right class: finer than the accuracy."""

    def process(self, data_batch, data_samples):
        self.results += [
            sample['pred_score'][sample['gt_label']].item()
            for sample in data_samples
        ]

    def compute_metrics(self, results):
        return dict(mean_score=100 * sum(results) / len(results))


def loader(batch_size, length):
    """Unchanged images in their order."""
    order = dict(type='DefaultSampler', shuffle=False)
    same = conftest.loader(length=length, flip=False)
    return dict(same, batch_size=batch_size, sampler=order)


#: Of a runner.
VALIDATION = dict(
    val_dataloader=loader(16, NUM_VAL),
    val_evaluator=dict(type='Accuracy', topk=(1,)),
    val_cfg=dict(),
)


def read(dataset):
    """All images, (N, 3, H, W), and their labels."""
    entries = [dataset[index] for index in range(len(dataset))]
    labels = [int(entry['data_samples'].gt_label) for entry in entries]
    return torch.stack([e['inputs'] for e in entries]), torch.tensor(labels)


def by_hand(model, depths, num_samples, train=None, val=None):
    """Top-1 and mean score, in percent, of the first ``depths`` blocks.

    The data sets are those of tiny images by default.
    """
    fit, _ = read(train or TinyImages(NUM_TRAIN, flip=False))
    images, labels = read(val or TinyImages(NUM_VAL, flip=False))
    logits = logits_by_hand(
        model.backbone,
        model.head.fc,
        depths,
        *(
            model.data_preprocessor(dict(inputs=x))['inputs']
            for x in (fit[:num_samples], images)
        ),
    )
    p = logits.softmax(1)
    return (
        100 * (p.argmax(1) == labels).float().mean().item(),
        100 * p[range(len(labels)), labels].mean().item(),
    )


@torch.no_grad()
def logits_by_hand(net, fc, depths, fit, images):
    """Logits of a ResNet with the first ``depths`` blocks of its stages.

    The images are normalised with the mean and the unbiased variance of the
    features of other images, to fit, which are normalised without bias, as in
    training. ``None`` is the main network with its own statistics.
    """

    def norm(bn, pair):
        out = []
        for x, correction in zip(pair, (0, 1)):
            mean, var = (
                pair[0].mean((0, 2, 3)),
                pair[0].var((0, 2, 3), correction=correction),
            )
            if depths is None:
                mean, var = bn.running_mean, bn.running_var
            x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
            out.append(x * bn.weight[:, None, None] + bn.bias[:, None, None])
        return out

    def conv_norm(conv, bn, pair):
        return norm(bn, [conv(x) for x in pair])

    pair = conv_norm(net.conv1, net.norm1, (fit, images))
    pair = [x.relu() for x in pair]
    for i, name in enumerate(net.res_layers):
        for block in list(getattr(net, name))[: depths and depths[i]]:
            out = conv_norm(block.conv1, block.norm1, pair)
            out = conv_norm(block.conv2, block.norm2, [x.relu() for x in out])
            if block.downsample is not None:
                pair = conv_norm(*block.downsample, pair)
            pair = [(a + b).relu() for a, b in zip(out, pair)]
    return fc(pair[1].mean((2, 3)))
