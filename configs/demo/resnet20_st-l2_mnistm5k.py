# ST with the KL- of the paper's letter.
_base_ = './resnet20_st_mnistm5k.py'

model = dict(head=dict(loss_kl=dict(normalize='l2')))
