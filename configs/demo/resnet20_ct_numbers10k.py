# Common training (CT) on two-digit numbers.
_base_ = './resnet20_ct_mnistm5k.py'

data_root = 'data/numbers10k'
data_preprocessor = dict(num_classes=100)

model = dict(head=dict(num_classes=100))

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
