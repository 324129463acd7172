"""Attacks that need the parameters: what is read off a model's gradients and activations.

`observer` reduces them to signals on the device, as `query.asker` does with logits; the attacks on
those signals are rungs of the one ladder, in `attacks`.
"""

from jaxmia.whitebox.gradients import SIGNALS, layers, microbatch, observer

__all__ = ["SIGNALS", "layers", "microbatch", "observer"]
