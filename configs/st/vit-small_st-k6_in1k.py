# ViT-S/16 with six subnets at the main input's size: exits of the main pass,
# which cost only their heads. Ours, not a row of the paper.
_base_ = './vit-small_st_in1k.py'

custom_hooks = [dict(_base_.subnet_sampler, num_subnets=6)]
