# Stimulative training++ (ST++): KL-, several subnets, smaller inputs. Chosen
# on part of the training images, see README.md.
_base_ = './resnet20_st-standardize_mnistm5k.py'

custom_hooks = [
    dict(
        type='mmst.SubnetSamplerHook',
        num_subnets=3,
        # Below three quarters of 32 pixels, little of a digit is left.
        size_range=(0.75, 1.0),
    )
]
