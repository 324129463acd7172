"""Defences of a model in training: functions `Recipe -> Recipe`, which compose."""

from jaxmia.defences.dp_sgd import Guarantee, dp_sgd, guarantee, microbatch

__all__ = ["Guarantee", "dp_sgd", "guarantee", "microbatch"]
