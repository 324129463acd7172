"""The same recipes as a plain PyTorch loop: what `experiments.throughput` compares with.

Eager PyTorch as its users write it: data on the device as stored, one model after the other,
channels_last and bfloat16 autocast on a GPU, and on a CPU the best number of threads.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from jaxmia.machine import cores
from jaxmia.training.plan import Stepper
from jaxmia.types import Data, Recipe


class _Pooled(nn.Module):
    """2 x 2 max pooling."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x, 2)


def _conv(a: int, b: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(a, b, kernel, stride, kernel // 2, bias=False)


class _Cnn(nn.Module):
    def __init__(self, channels: list[int], classes: int) -> None:
        super().__init__()
        pairs = zip(channels, channels[1:], strict=False)
        layers = [(_conv(a, b), nn.ReLU(), _Pooled()) for a, b in pairs]
        self.body = nn.Sequential(*[one for layer in layers for one in layer])
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class _ResidualBlock(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = _conv(a, b, stride), _conv(b, b)
        self.norm1, self.norm2 = nn.BatchNorm2d(b), nn.BatchNorm2d(b)
        self.stride, self.more = stride, b - a

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.second(F.relu(self.norm1(self.first(x)))))
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return F.relu(out + short)


class _ResNet(nn.Module):
    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        blocks, a = [], 16
        for b in (16, 32, 64):
            for i in range(depth // 6):
                blocks.append(_ResidualBlock(a, b, 2 if i == 0 and b > 16 else 1))
                a = b
        self.body = nn.Sequential(_conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), *blocks)
        self.head = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class _WideBlock(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(a), nn.BatchNorm2d(b)
        self.first, self.second = _conv(a, b, stride), _conv(b, b)
        self.short = _conv(a, b, stride, 1) if a != b or stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.norm1(x))
        short = self.short(out) if self.short is not None else x
        return self.second(F.relu(self.norm2(self.first(out)))) + short


class _Wrn(nn.Module):
    def __init__(self, depth: int, widen: int, classes: int) -> None:
        super().__init__()
        blocks, a = [], 16
        for b, first in ((16, 1), (32, 2), (64, 2)):
            for i in range((depth - 4) // 6):
                blocks.append(_WideBlock(a, b * widen, first if i == 0 else 1))
                a = b * widen
        self.body = nn.Sequential(_conv(3, 16), *blocks, nn.BatchNorm2d(a), nn.ReLU())
        self.head = nn.Linear(a, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class _FastStage(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_conv(a, b), _Pooled(), nn.BatchNorm2d(b), nn.ReLU())
        self.second = nn.Sequential(_conv(b, b), nn.BatchNorm2d(b), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return x + self.second(x)


class _Fast(nn.Module):
    def __init__(self, widths: list[int], classes: int) -> None:
        super().__init__()
        stem = [_conv(3, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        stages = [_FastStage(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        self.body, self.head = nn.Sequential(*stem, *stages), nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).amax((2, 3))) * 0.125


def _dense(sizes: list[int]) -> nn.Module:
    layers = [nn.Flatten()]
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _perceptron(*hidden: int) -> Callable[[Data], nn.Module]:
    return lambda d: _dense([int(np.prod(d.x.shape[1:])), *hidden, d.classes])


NETWORKS: dict[str, Callable[[Data], nn.Module]] = {
    "mlp_digits": _perceptron(128, 128),
    "mlp_446": _perceptron(256, 128),
    "cnn16": lambda d: _Cnn([3, 16, 32, 64], d.classes),
    "cnn32": lambda d: _Cnn([3, 16, 32, 64], d.classes),
    "resnet20": lambda d: _ResNet(20, d.classes),
    "fast": lambda d: _Fast([64, 128, 256, 256], d.classes),
    "wrn28_2": lambda d: _Wrn(28, 2, d.classes),
}


def stepper(name: str, recipe: Recipe, data: Data, steps: int, shift: int) -> Stepper:
    """Times epochs of `steps` steps; `shift` is the augmentation's, 0 for none.

    Every call trains once with one thread and once with all cores, and gives the better.
    """
    epoch = _epoch(name, recipe.batch_size, data, steps, shift)
    cpu = not torch.cuda.is_available()

    def seconds() -> float:
        took = []
        for threads in (1, cores()) if cpu else (1,):
            torch.set_num_threads(threads)
            start = time.perf_counter()
            epoch()
            took.append((time.perf_counter() - start) / steps)
        return min(took)

    start = time.perf_counter()
    seconds()
    peak = 0 if cpu else torch.cuda.max_memory_allocated()
    return Stepper(seconds, time.perf_counter() - start, peak)


def _epoch(name: str, batch_size: int, data: Data, steps: int, shift: int) -> Callable[[], None]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = NETWORKS[name](data).to(device)
    if device.type == "cuda":
        net = net.to(memory_format=torch.channels_last)
    stored = torch.from_numpy(np.asarray(data.x)).to(device)
    labels = torch.from_numpy(np.asarray(data.y).astype(np.int64)).to(device)
    optimizer = _optimizer(net)
    members = torch.arange(0, len(labels), 2, device=device)

    def epoch() -> None:
        order = members[torch.randperm(len(members), device=device)]
        for i in range(steps):
            at = order[i * batch_size : (i + 1) * batch_size]
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 + np.cos(np.pi * i / steps))
            x = (stored[at].float() - float(np.mean(data.shift))) / float(np.mean(data.scale))
            if x.ndim == 4:
                x = _moved(x, shift) if shift else x.permute(0, 3, 1, 2)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, device.type == "cuda"):
                loss = F.cross_entropy(net(x), labels[at])
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return epoch


def pair(name: str, recipe: Recipe, data: Data, steps: int, shift: int) -> Stepper:
    """Times epochs in two processes side by side, with half of the cores each.

    The time is that of one model's step: half of the slower process's.
    """
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    ends = []
    for _ in range(2):
        here, there = context.Pipe()
        # a recipe holds closures, which no process can be sent
        about = (name, recipe.batch_size, data.x, data.y, data.classes, steps, shift)
        context.Process(target=_serve, args=(there, about), daemon=True).start()
        ends.append(here)
    for end in ends:
        end.recv()

    def seconds() -> float:
        for end in ends:
            end.send(True)
        return max(end.recv() for end in ends) / 2

    return Stepper(seconds, time.perf_counter() - start, 0)


def _serve(end: Connection, about: tuple) -> None:
    """Trains an epoch whenever asked, and says how long a step took."""
    name, batch_size, x, y, classes, steps, shift = about
    data = Data("noise", x, y, x[:0], y[:0], classes)
    epoch = _epoch(name, batch_size, data, steps, shift)
    torch.set_num_threads(max(1, cores() // 2))
    epoch()
    end.send(0.0)
    with contextlib.suppress(EOFError):  # who asks has gone
        while end.recv():
            start = time.perf_counter()
            epoch()
            end.send((time.perf_counter() - start) / steps)


def parameters(name: str, data: Data) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in NETWORKS[name](data).parameters())


def _optimizer(net: nn.Module) -> torch.optim.Optimizer:
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": plain}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def _moved(x: torch.Tensor, pixels: int) -> torch.Tensor:
    """NHWC images mirrored and shifted at random with reflected edges, as NCHW."""
    b, h, w, _ = x.shape
    down, right = torch.randint(-pixels, pixels + 1, (2, b, 1), device=x.device)
    rows = _reflected(torch.arange(h, device=x.device) + down, h)
    columns = _reflected(torch.arange(w, device=x.device) + right, w)
    mirrored = torch.rand(b, 1, device=x.device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    each = torch.arange(b, device=x.device)[:, None, None]
    return x[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    return (size - 1) - ((size - 1) - index.abs()).abs()
