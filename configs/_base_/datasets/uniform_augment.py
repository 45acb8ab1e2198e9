# Two of 14 operations, with replacement, each applied with probability 0.5, at
# a magnitude drawn uniformly ('inf'), as in the released code.
uniform_augment = dict(
    type='RandAugment',
    num_policies=2,
    magnitude_level=10,
    magnitude_std='inf',
    total_level=10,
    hparams=dict(pad_val=0),
    policies=[
        dict(type='AutoContrast', prob=0.0),  # the identity
        dict(type='AutoContrast', prob=0.5),
        dict(type='Equalize', prob=0.5),
        dict(type='Rotate', magnitude_range=(0, 30), prob=0.5),
        dict(type='Solarize', magnitude_range=(256, 0), prob=0.5),
        dict(type='ColorTransform', magnitude_range=(0, 0.9), prob=0.5),
        # Rounded up here and down in the released code: 7 to 4 bits.
        dict(type='Posterize', magnitude_range=(7, 3), prob=0.5),
        dict(type='Contrast', magnitude_range=(0, 0.9), prob=0.5),
        dict(type='Brightness', magnitude_range=(0, 0.9), prob=0.5),
        dict(type='Sharpness', magnitude_range=(0, 0.9), prob=0.5),
        *[
            dict(
                type=kind,
                magnitude_range=(0, most),
                prob=0.5,
                direction=d,
                interpolation='nearest',
            )
            # 10 of 200 px.
            for kind, most in (('Shear', 0.3), ('Translate', 0.05))
            for d in ('horizontal', 'vertical')
        ],
    ],
)
