"""Networks, each `settings -> (data -> Model)`; Flax lives here and nowhere else."""

from jaxmia.models.adaptor import linen_module, nnx_module
from jaxmia.models.cnn import cnn
from jaxmia.models.fast import fast
from jaxmia.models.mlp import mlp
from jaxmia.models.resnet import resnet
from jaxmia.models.vit import vit
from jaxmia.models.wrn import wrn

__all__ = ["cnn", "fast", "linen_module", "mlp", "nnx_module", "resnet", "vit", "wrn"]
