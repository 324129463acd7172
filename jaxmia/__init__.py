"""jaxmia: how much does a classifier give away about the people it was trained on?

    data -> design -> train -> query -> signals -> attacks -> metrics -> report

Left of `signals` is code for one model, mapped over many by `parallel`; right of it is array-sized
work on `member [M, N]` and `signals [M, N, Q]`, for models trained with any framework.
`pipeline.run` is the whole of it on one screen.
"""

import importlib

_LAZY = {
    "Experiment": "experiment",
    "Run": "storage.run",
    "audit": "command.audit",
    "cli": "command.experiment",
    "run": "pipeline",
}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(f"jaxmia.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'jaxmia' has no attribute {name!r}")
