"""How an estimator is trained: its class and settings as a value, and what it can be asked."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmia.values import describe


class Procedure:
    """An estimator of scikit-learn's interface, cloned: what it has learnt stays behind.

    Raises `ValueError` for what cannot be cloned, fitted and asked.
    """

    def __init__(self, estimator: Any) -> None:
        from sklearn.base import clone, is_classifier, is_regressor

        name = type(estimator).__name__
        lacking = [n for n in ("fit", "get_params", "predict") if not hasattr(estimator, n)]
        if isinstance(estimator, type) or lacking:
            raise ValueError(
                f"estimator: {name} is no estimator of scikit-learn's interface"
                + (f" (it has no {lacking[0]})" if lacking else ": give an instance")
            )
        if not (is_classifier(estimator) or is_regressor(estimator)):
            raise ValueError(f"estimator: {name} is neither a classifier nor a regressor")
        try:
            self.estimator = clone(estimator)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"estimator: {name} cannot be cloned ({error!s:.300})") from error
        self.regression = bool(is_regressor(estimator))

    def __repr__(self) -> str:
        """All settings, so that two procedures print the same if and only if they are."""
        return described(self.estimator)


def described(value: Any) -> str:
    """An estimator, or one of its settings, whole: its class and all of its settings."""
    if hasattr(value, "get_params") and not isinstance(value, type):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        settings = sorted(value.get_params(deep=False).items())
        return f"{kind}({', '.join(f'{k}={described(v)}' for k, v in settings)})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k!r}: {described(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(described, value))}]"
    if isinstance(value, np.random.RandomState | np.random.Generator):
        return type(value).__name__  # its state is not used: every model draws its own
    if callable(value):
        return _function(value)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(describe(value)))  # an address is no setting


def _function(value: Any) -> str:
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{getattr(value, '__module__', '')}.{name}"


def seeded(estimator: Any, seed: int, model: int) -> Any:
    """A clone whose randomness is a function of (seed, model).

    A `random_state` that is None, or a generator, becomes a number of its own, also in the steps of
    a pipeline. One that is a number stays: it is part of the procedure, and an attacker has it too.
    """
    from sklearn.base import clone

    own: Any = clone(estimator)
    settings = sorted(own.get_params(deep=True).items())
    free = [
        name
        for name, value in settings
        if name.rpartition("__")[2] == "random_state" and not isinstance(value, int | np.integer)
    ]
    numbers = np.random.SeedSequence([seed, model]).generate_state(len(free)) >> 1
    return own.set_params(**dict(zip(free, numbers.tolist(), strict=True))) if free else own
