# Stimulative training++ (ST++): KL-, several subnets, smaller inputs. Chosen
# on a part of the training images, see README.md.
_base_ = './resnet20_st-standardize_mnistm5k.py'

custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        # Less than three quarters of 32 pixels leaves little of a digit.
        size_range=(0.75, 1.0),
    )
]
