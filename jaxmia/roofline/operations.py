"""What a kernel does, and the operations of convolutions and matrix products."""

import math
import re
from collections.abc import Sequence

from jaxmia.roofline.hlo import ArrayShape, Computation, Instruction

CUDNN = {
    "__cudnn$convForward": "convolution, forward",
    "__cudnn$convBiasActivationForward": "convolution, forward",
    "__cudnn$convBackwardInput": "convolution, input gradient",
    "__cudnn$convBackwardFilter": "convolution, weight gradient",
}
# the dearest first: a kernel that does several is called by it. On a TPU both are convolutions
KINDS = {
    "convolution": "convolution or product",
    "dot": "matrix product",
    "scatter": "scatter",
    "reduce-window": "reduction",
    "reduce": "reduction",
    "gather": "gather",
    "sort": "sort",
}
COPIES = frozenset(
    "bitcast convert copy copy-start dynamic-slice dynamic-update-slice reshape slice slice-start "
    "transpose".split()
)


def kind(inside: Sequence[Instruction]) -> str:
    """What a kernel of one or many instructions does, in words."""
    for i in inside:
        target = target_of(i)
        if target in CUDNN:
            return CUDNN[target]
        if target and len(inside) == 1:
            return "matrix product" if _multiplies(i) else target
    opcodes = {i.opcode for i in inside}
    for opcode, words in KINDS.items():
        if opcode in opcodes:
            return words
    if opcodes <= COPIES | {"parameter", "constant", "tuple"}:
        return "copy"
    return inside[0].opcode if len(inside) == 1 and "-" in inside[0].opcode else "elementwise"


def operations(around: Computation, i: Instruction) -> int:
    """The multiplications and additions of a convolution or a matrix product; of others none."""
    shapes = [around[n].arrays[0] for n in i.operands[:2] if n in around]
    if len(shapes) == 2 and (i.opcode == "convolution" or target_of(i) in CUDNN):
        return _of_convolution(i, *shapes)
    if len(shapes) == 2 and _multiplies(i):
        key = r'lhs_contracting_dim(?:ension)?s(?:":\[|=\{)([\d,"]*)'
        match = re.search(key, i.attributes)
        summed = [int(d) for d in re.findall(r"\d+", match[1])] if match else []
        return 2 * i.arrays[0].size * math.prod(shapes[0].dims[d] for d in summed)
    return 0


def target_of(i: Instruction) -> str:
    """What a custom call calls; "" for anything else."""
    match = re.search(r'custom_call_target="([^"]+)"', i.attributes)
    return match[1] if match and i.opcode == "custom-call" else ""


def _multiplies(i: Instruction) -> bool:
    return i.opcode == "dot" or any(word in target_of(i) for word in ("gemm", "matmul"))


def _of_convolution(i: Instruction, first: ArrayShape, second: ArrayShape) -> int:
    """Two for each pixel that meets an entry of the kernel, and each pair of channels.

    Labels and window of cuDNN's gradients are those of the convolution that they are of.
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", i.attributes)
    if labels is None:
        return 0
    images, kernel, result = first, second, i.arrays[0]
    if target_of(i) == "__cudnn$convBackwardInput":
        images, result = result, first
    elif target_of(i) == "__cudnn$convBackwardFilter":
        kernel, result = result, second
    window = re.search(r"window=\{([^}]*)\}", i.attributes)
    settings = dict(re.findall(r"(\w+)=([\w\-]+)", window[1])) if window else {}
    pairs = 1
    for number, axis in enumerate(sorted(c for c in labels[3] if c.isdigit())):
        pixels, places = images.dims[labels[1].index(axis)], result.dims[labels[3].index(axis)]
        own = {name: value.split("x")[number] for name, value in settings.items()}
        pairs *= _meetings(pixels, places, own)
    channels = kernel.dims[labels[2].index("i")] * result.dims[labels[3].index("f")]
    return 2 * pairs * channels * result.dims[labels[3].index("b")]


def _meetings(pixels: int, places: int, window: dict[str, str]) -> int:
    """Along one axis: how often an entry of the kernel meets a pixel, at all of its places."""
    size, stride = int(window.get("size", 1)), int(window.get("stride", 1))
    apart, dilated = int(window.get("lhs_dilate", 1)), int(window.get("rhs_dilate", 1))
    before = int(window.get("pad", "0_0").split("_")[0])
    at = (i * stride + j * dilated - before for i in range(places) for j in range(size))
    return sum(0 <= p <= (pixels - 1) * apart and p % apart == 0 for p in at)
