# ST++ whose subnets learn from the labels and the main network.
_base_ = './resnet20_stpp_mnistm5k.py'

model = dict(head=dict(subnet_target='both'))
