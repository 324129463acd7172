"""Examples as pictures small enough for a page: images as they are, feature rows as strips."""

import base64
import io

import numpy as np

LARGEST = 64  # pixels of a side; larger images are averaged down
FEATURES = 256  # that a strip shows


def picture(x: np.ndarray, shape: tuple[int, ...] = ()) -> str:
    """One example as a `data:` URI of a PNG.

    `shape` is that of an image which is stored flat. `[H, W]` and `[H, W, 1 or 3]` are images
    (uint8 as they are, others from their least to their greatest value); the rest is a strip.
    """
    x = np.asarray(x)
    image = x.reshape(shape) if shape else x
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3):
        return _png(_smaller(_bytes(image)))
    return _png(_bytes(x.reshape(1, -1)[:, :FEATURES]))


def words(x: np.ndarray, features: int = 4) -> str:
    """The first features of a row, as text."""
    row = np.asarray(x).reshape(-1)
    text = ", ".join(f"{v:.4g}" for v in row[:features])
    return text + (", …" if len(row) > features else "")


def is_image(x: np.ndarray, shape: tuple[int, ...] = ()) -> bool:
    """Whether one example `x [...]` is drawn as an image."""
    side = shape or x.shape
    return len(side) == 2 or (len(side) == 3 and side[-1] in (1, 3))


def _bytes(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8 and x.max(initial=0) > 32:  # the digits count to 16 only
        return x
    low, high = float(x.min()), float(x.max())
    return np.round((x.astype(np.float64) - low) / max(high - low, 1e-12) * 255).astype(np.uint8)


def _smaller(image: np.ndarray) -> np.ndarray:
    factor = -(-max(image.shape[:2]) // LARGEST)
    if factor == 1:
        return image
    height, width = (n // factor * factor for n in image.shape[:2])
    if not (height and width):
        return image[::factor, ::factor]
    blocks = image[:height, :width].reshape(
        height // factor, factor, width // factor, factor, *image.shape[2:]
    )
    return blocks.mean((1, 3)).astype(np.uint8)


def _png(image: np.ndarray) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
