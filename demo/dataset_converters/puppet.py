"""A jointed figure with the 17 keypoints of a COCO person.

It faces the viewer, so its left is on the right of the image. Otherwise left
and right are alike: both sides are drawn the same way and posed from the same
distribution, so a mirrored puppet with its sides renamed is again a puppet.
"""

from typing import Dict, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

SIDES = ('left', 'right')
PARTS = ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
KEYPOINTS = ('nose', *(f'{side}_{part}' for part in PARTS for side in SIDES))
INDEX = {name: index for index, name in enumerate(KEYPOINTS)}
#: Pairs of keypoints that a limb or the trunk joins.
SKELETON = tuple(
    (f'{side}_{start}', f'{side}_{end}')
    for side in SIDES
    for start, end in (
        ('shoulder', 'elbow'),
        ('elbow', 'wrist'),
        ('hip', 'knee'),
        ('knee', 'ankle'),
        ('shoulder', 'hip'),
    )
)
OUTLINE = (25, 25, 25)
#: Factor of oversampling along each side, for smooth edges.
OVERSAMPLING = 3


def sample_pose(generator: np.random.Generator) -> np.ndarray:
    """Draw a pose.

    Returns:
        np.ndarray: Keypoints (17, 2), x to the right and y down, with the
        middle of the hips at 0. A standing puppet is 1 high.
    """
    pose = np.zeros((len(KEYPOINTS), 2))
    turn = generator.uniform(-0.02, 0.02)
    pose[0] = 1.5 * turn, -0.435

    def pose_side(side: str, sign: int) -> None:

        def put(part: str, x: float, y: float) -> None:
            pose[INDEX[f'{side}_{part}']] = sign * x, y

        def hang(part: str, of: str, length: float, angle: float) -> None:
            x, y = pose[INDEX[f'{side}_{of}']]
            put(
                part,
                sign * x + length * np.sin(angle),
                y + length * np.cos(angle),
            )

        put('eye', 0.033 + sign * turn, -0.475)
        put('ear', 0.083, -0.455)
        put('shoulder', 0.115, -0.3)
        put('hip', 0.07, 0.0)
        # Angles in radians, outwards from straight down.
        arm, leg = generator.uniform((-0.1, -0.1), (2.5, 0.6))
        hang('elbow', 'shoulder', 0.16, arm)
        hang('wrist', 'elbow', 0.15, arm + generator.uniform(-0.6, 1.4))
        hang('knee', 'hip', 0.22, leg)
        hang('ankle', 'knee', 0.21, leg - generator.uniform(-0.1, 0.6))

    for side, sign in zip(SIDES, (1, -1)):
        pose_side(side, sign)
    tilt, lean = generator.uniform((-0.25, -0.2), (0.25, 0.2))
    head, trunk = slice(0, INDEX['left_shoulder']), slice(0, INDEX['left_hip'])
    pose[head] = rotate(pose[head], tilt, (0, -0.34))
    pose[trunk] = rotate(pose[trunk], lean, (0, 0))
    return pose


def rotate(
    points: np.ndarray, angle: float, centre: Sequence[float]
) -> np.ndarray:
    """Turn points (N, 2) by an angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre


def draw_puppet(
    height: float, generator: np.random.Generator
) -> Tuple[Image.Image, np.ndarray]:
    """Draw a puppet in a random pose and in random colours.

    Args:
        height: Its height when standing, in pixels.
        generator: Source of randomness.

    Returns:
        Tuple[Image.Image, np.ndarray]: RGBA image, transparent elsewhere,
        and the keypoints in it (17, 2), in pixels; the middle of the first
        pixel is (0, 0).
    """
    pose = height * sample_pose(generator)
    margin = 0.12 * height
    keypoints = pose - pose.min(axis=0) + margin
    size = np.ceil(keypoints.max(axis=0) + margin).astype(int)
    pen = Pen(size, height)
    draw_parts(pen, dict(zip(KEYPOINTS, keypoints)), generator)
    return pen.image.resize(tuple(size.tolist()), Image.BOX), keypoints


def draw_parts(
    pen: 'Pen', joint: Dict[str, np.ndarray], generator: np.random.Generator
) -> None:
    """Draw a puppet's parts, back to front, in random colours."""
    skin, shirt, trousers = (
        tuple(generator.integers(low, 256, 3).tolist())
        for low in (150, 30, 30)
    )
    # Where limbs cross, either side may be in front.
    order = generator.permutation(SIDES)

    def draw_limbs(start: str, end: str, width: float, colour: tuple) -> None:
        for side in order:
            pen.draw_line(
                [joint[f'{side}_{start}'], joint[f'{side}_{end}']],
                width,
                colour,
            )

    face = (joint['left_ear'] + joint['right_ear']) / 2
    chest = (joint['left_shoulder'] + joint['right_shoulder']) / 2
    pen.draw_line([face, chest], 0.05, skin)
    draw_limbs('knee', 'ankle', 0.05, skin)
    draw_limbs('ankle', 'ankle', 0.07, trousers)
    draw_limbs('hip', 'knee', 0.075, trousers)
    pen.draw_line([joint['left_hip'], joint['right_hip']], 0.1, trousers)
    around = ('left_shoulder', 'right_shoulder', 'right_hip', 'left_hip')
    trunk = [joint[name] for name in (*around, around[0])]
    pen.draw_line(trunk, 0.06, shirt, fill=True)
    draw_limbs('shoulder', 'elbow', 0.06, shirt)
    draw_limbs('elbow', 'wrist', 0.045, skin)
    draw_limbs('wrist', 'wrist', 0.06, skin)
    draw_limbs('ear', 'ear', 0.05, skin)
    pen.draw_line([face, face], 0.165, skin)
    draw_limbs('eye', 'eye', 0.012, OUTLINE)
    pen.draw_line([joint['nose'], joint['nose']], 0.012, (200, 40, 40))


class Pen:
    """Draws round-ended lines with a dark outline.

    Args:
        size: Width and height of the image, in pixels.
        height: The unit of line widths, in pixels.
    """

    def __init__(self, size: np.ndarray, height: float) -> None:
        self.image = Image.new('RGBA', tuple((OVERSAMPLING * size).tolist()))
        self.draw = ImageDraw.Draw(self.image)
        self.height = height

    def draw_line(
        self,
        points: Sequence[np.ndarray],
        width: float,
        colour: tuple,
        fill: bool = False,
    ) -> None:
        """Draw a line through points, in pixels, or fill a polygon."""
        # From pixel centres to centres of the oversampled pixels.
        points = [tuple(OVERSAMPLING * (p + 0.5) - 0.5) for p in points]
        for extra, ink in ((0.02, OUTLINE), (0.0, colour)):
            thick = OVERSAMPLING * self.height * (width + extra)
            self.draw.line(points, ink, round(thick))
            half = thick / 2
            for x, y in points:
                box = (x - half, y - half, x + half, y + half)
                self.draw.ellipse(box, ink)
            if fill:
                self.draw.polygon(points, ink)
