"""Estimators of scikit-learn's interface as models: cloned, fitted on members, asked of everyone.

A `Procedure` is how they are trained, a `Table` what on; signals, attacks and reports are those of
networks.
"""

from jaxmia.estimators.procedure import Procedure
from jaxmia.estimators.table import Table

__all__ = ["Procedure", "Table"]
