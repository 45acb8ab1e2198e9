# ST with KL- exactly as in the paper.
_base_ = './resnet20_st_mnistm5k.py'

model = dict(head=dict(loss_kl=dict(normalize='l2')))
