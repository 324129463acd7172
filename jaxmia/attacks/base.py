"""BASE: the target's likelihood against the mean one of the references (arXiv 2505.24089).

    log p_target(x) - log mean_r p_r(x)

the mean over all references, IN and OUT, so that few of them are enough.
"""

from jaxmia.attacks.chunks import attack
from jaxmia.attacks.rmia import log_ratio

BASE = attack(log_ratio("online", 0.0))
