"""Compose a scene of puppets and digits before photographs and a panel."""

from typing import Dict, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image, ImageDraw
from puppet import draw_puppet

#: Kinds of segments: a digit, '0' to '9', or one of these. A panel is a
#: striped sheet; the other two are photographs.
PUPPET, CHINA, FLOWER, PANEL = 'puppet', 'china', 'flower', 'panel'
#: Minimum and maximum numbers that are tried in a scene.
NUM_PUPPETS, NUM_DIGITS = (1, 2), (3, 6)
#: Heights as fractions of the image's shorter side.
PUPPET_HEIGHTS, DIGIT_HEIGHTS = (0.5, 0.9), (0.15, 0.42)
#: Fraction of a puppet or digit that must stay visible.
MIN_VISIBLE = 0.7
#: Number of places to try for a puppet or digit before it is left out.
NUM_TRIES = 20


class Sources(NamedTuple):
    """The sources of scenes.

    Attributes:
        digits: Grey images (N, 28, 28), uint8.
        labels: Their digits, (N, ).
        photos: RGB photographs, CHINA and FLOWER.
    """

    digits: np.ndarray
    labels: np.ndarray
    photos: Dict[str, Image.Image]


class Scene:
    """An image and which segment each pixel belongs to.

    Args:
        width: In pixels.
        height: In pixels.

    Attributes:
        image: RGB (height, width, 3), float, 0 to 255.
        owners: Number of the pixel's segment (height, width), or
            0 on the soft edge of an object, which belongs to no segment.
        kinds: Name of each segment's thing, by number from 1.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = np.zeros((height, width, 3))
        self.owners = np.zeros((height, width), int)
        self.kinds: Dict[int, str] = {}
        self._areas: Dict[int, int] = {}
        self._keypoints: Dict[int, np.ndarray] = {}

    def fill(self, kind: str, where: np.ndarray, pixels: np.ndarray) -> None:
        """Add a background, any part of which may be covered later."""
        number = len(self.kinds) + 1
        self.kinds[number] = kind
        self.owners[where] = number
        self.image[where] = pixels[where]

    def paste(
        self,
        kind: str,
        tile: Image.Image,
        corner: Tuple[int, int],
        keypoints: Optional[np.ndarray] = None,
    ) -> bool:
        """Add a puppet or digit to the scene, if enough stays visible.

        Args:
            kind: Name of the thing shown.
            tile: RGBA image of it.
            corner: Where the tile begins, x and y; may be
                outside the image.
            keypoints: Points in the tile (K, 2).

        Returns:
            bool: False if too little of it, or of earlier objects, would be
            visible. The scene is not changed then.
        """
        height, width = self.owners.shape
        layer = Image.new('RGBA', (width, height))
        layer.paste(tile, corner)
        pixels = np.asarray(layer, float)
        opacity = pixels[..., 3] / 255
        number = len(self.kinds) + 1
        full_area = int((np.asarray(tile)[..., 3] >= 127.5).sum())
        owners = np.where(opacity > 0.1, 0, self.owners)
        owners[opacity >= 0.5] = number
        areas = {**self._areas, number: full_area}
        if any(
            (owners == other).sum() < MIN_VISIBLE * area
            for other, area in areas.items()
        ):
            return False
        self.image += opacity[..., None] * (pixels[..., :3] - self.image)
        self.owners, self._areas = owners, areas
        self.kinds[number] = kind
        if keypoints is not None:
            self._keypoints[number] = keypoints + corner
        return True

    def get_keypoints(self, number: int) -> np.ndarray:
        """Return a segment's keypoints in COCO's format.

        Returns:
            np.ndarray: x, y, v (K, 3). v is 2 if visible and 1 behind another
            object; outside the image all three are 0.
        """
        height, width = self.owners.shape
        rows = []
        for x, y in self._keypoints[number]:
            inside = 0 <= x <= width - 1 and 0 <= y <= height - 1
            shown = inside and self.owners[round(y), round(x)] == number
            rows.append((x, y, 1 + shown) if inside else (0, 0, 0))
        return np.array(rows, float)


def compose(
    size: Tuple[int, int], sources: Sources, generator: np.random.Generator
) -> Scene:
    """Compose a random scene of a width and a height in pixels."""
    scene = Scene(*size)
    add_background(scene, sources.photos, generator)
    for _ in range(generator.integers(*NUM_PUPPETS, endpoint=True)):
        height = min(size) * generator.uniform(*PUPPET_HEIGHTS)
        tile, keypoints = draw_puppet(height, generator)
        for _ in range(NUM_TRIES):
            corner = sample_corner(tile.size, size, generator)
            if scene.paste(PUPPET, tile, corner, keypoints):
                break
    for _ in range(generator.integers(*NUM_DIGITS, endpoint=True)):
        row = generator.integers(len(sources.labels))
        height = min(size) * generator.uniform(*DIGIT_HEIGHTS)
        stencil = shape_digit(sources.digits[row], height, generator)
        for _ in range(NUM_TRIES):
            corner = sample_corner(stencil.size, size, generator)
            tile = colour_digit(stencil, scene.image, corner, generator)
            if scene.paste(str(sources.labels[row]), tile, corner):
                break
    return scene


def sample_corner(
    tile: Tuple[int, int],
    size: Tuple[int, int],
    generator: np.random.Generator,
) -> Tuple[int, int]:
    """Draw a place; up to an eighth of the tile may be outside the image."""
    corner = [
        generator.integers(
            -(side // 8), max(room - side, 0) + side // 8, endpoint=True
        )
        for side, room in zip(tile, size)
    ]
    return int(corner[0]), int(corner[1])


def shape_digit(
    digit: np.ndarray, height: float, generator: np.random.Generator
) -> Image.Image:
    """Crop a digit, rotate it a little and scale it to a height in pixels.

    Returns:
        Image.Image: Grey image, 255 in the strokes.
    """
    image = Image.fromarray(digit)
    image = image.rotate(generator.uniform(-12, 12), Image.BICUBIC)
    image = image.crop(image.getbbox())
    width = image.width * height / image.height
    return image.resize((max(round(width), 1), round(height)), Image.BICUBIC)


def colour_digit(
    stencil: Image.Image,
    ground: np.ndarray,
    corner: Tuple[int, int],
    generator: np.random.Generator,
) -> Image.Image:
    """Give a digit a colour that stands out, with a vertical gradient.

    Args:
        stencil: Grey image, 255 in the strokes.
        ground: The image below it (height, width, 3).
        corner: Its place in that image, x and y.
        generator: Source of randomness.
    """
    left, top = corner
    below = ground[
        max(top, 0) : top + stencil.height, max(left, 0) : left + stencil.width
    ].mean(axis=(0, 1))
    colours = generator.uniform(0, 255, (5, 3))
    colour = max(colours, key=lambda each: np.abs(each - below).sum())
    shades = np.linspace(0, generator.uniform(-40, 40), stencil.height)
    pixels = np.empty((stencil.height, stencil.width, 4))
    pixels[..., :3] = colour + shades[:, None, None]
    pixels[..., 3] = stencil
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def add_background(
    scene: Scene,
    photos: Dict[str, Image.Image],
    generator: np.random.Generator,
) -> None:
    """Add two photographs, sometimes a panel, and translucent clutter."""
    height, width = scene.owners.shape
    y, x = np.mgrid[:height, :width]
    names = generator.permutation([CHINA, FLOWER]).tolist()
    scene.fill(
        names[0],
        np.ones_like(x, bool),
        crop_photo(photos[names[0]], (width, height), generator),
    )
    # The border is a wave across the image, near its middle.
    angle, phase = generator.uniform(0, 2 * np.pi, 2)
    centre = generator.uniform(0.35, 0.65, 2) * (width, height)
    across = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    along = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    wave = 0.06 * height * np.sin(along * 6 / height + phase)
    scene.fill(
        names[1],
        across > wave,
        crop_photo(photos[names[1]], (width, height), generator),
    )
    if generator.random() < 0.5:
        add_panel(scene, generator)
    for _ in range(generator.integers(2, 6)):
        blot = Image.new('L', (width, height))
        corners = generator.uniform(0, 1, (2, 2)) * (width, height)
        draw = ImageDraw.Draw(blot)
        shape = draw.ellipse if generator.random() < 0.5 else draw.rectangle
        shape([*corners.min(axis=0), *corners.max(axis=0)], 255)
        opacity = np.asarray(blot)[..., None] / 255
        opacity = generator.uniform(0.1, 0.4) * opacity
        scene.image += opacity * (generator.uniform(0, 255, 3) - scene.image)


def crop_photo(
    photo: Image.Image, size: Tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """Crop a part with the size's aspect ratio, scale and maybe mirror it."""
    scale = generator.uniform(0.4, 0.98) * min(
        photo.width / size[0], photo.height / size[1]
    )
    room = np.subtract(photo.size, np.multiply(scale, size))
    start = generator.uniform(0, 1, 2) * room
    part = photo.resize(
        size, Image.BILINEAR, box=(*start, *(start + np.multiply(scale, size)))
    )
    return np.asarray(part, float)[:, :: generator.choice((-1, 1))]


def add_panel(scene: Scene, generator: np.random.Generator) -> None:
    """Add a striped rectangle; its sides are 0.4 to 0.6 of the image's."""
    height, width = scene.owners.shape
    y, x = np.mgrid[:height, :width]
    centre = generator.uniform(0.25, 0.75, 2) * (width, height)
    half = generator.uniform(0.2, 0.3, 2) * (width, height)
    angle = generator.uniform(-0.4, 0.4)
    offset = np.stack((x, y), axis=-1) - centre
    cos, sin = np.cos(angle), np.sin(angle)
    offset = offset @ np.array([[cos, -sin], [sin, cos]])
    stripes = offset[..., 0] // generator.uniform(5, 12) % 2
    colours = generator.uniform(0, 255, (2, 3))
    scene.fill(
        PANEL,
        (np.abs(offset) < half).all(axis=-1),
        colours[stripes.astype(int)],
    )
