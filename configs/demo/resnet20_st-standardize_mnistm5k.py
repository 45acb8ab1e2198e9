# ST with the KL- of the released code.
_base_ = './resnet20_st_mnistm5k.py'

model = dict(
    head=dict(
        # With 10 classes, standardised logits have a norm of only 3.2, too
        # small for a sharp softmax. ImageNet's 1000 classes need no scale.
        loss_kl=dict(normalize='standardize', scale=2.0),
        normalize_main=True,
    )
)
