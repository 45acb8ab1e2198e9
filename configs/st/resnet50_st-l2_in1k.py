# A1 with KL- exactly as in the paper (Eq. 4 to 6): logits divided by their L2
# norm, and a plain cross-entropy. See "KL-: two forms" in README.md.
_base_ = './resnet50_st_in1k.py'

model = dict(head=dict(loss_kl=dict(normalize='l2'), normalize_main=False))
