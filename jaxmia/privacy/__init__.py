"""What privacy guarantees allow an attacker, and what an attack shows of them.

A *bound* says what no attack can pass. A *lower bound* says, at a confidence, that a mechanism is
no more private than so; it holds for independent trials, such as one canary in each of many runs,
or for the coins of one run's canaries. Over the examples of one model, or over pooled targets, the
same arithmetic gives an *estimate*, and is called so. Every epsilon goes with a relation:
"add/remove" one record, or "replace-one". NumPy in float64.
"""

from jaxmia.privacy.accounting import Profile, converted, dp_sgd_profile
from jaxmia.privacy.area import mu_from_auc
from jaxmia.privacy.bounds import (
    gaussian_delta,
    gaussian_epsilon,
    gaussian_tpr_bound,
    identifiability_bound,
    posterior_bound,
    posterior_bound_of_event,
    tpr_bound,
)
from jaxmia.privacy.events import (
    THRESHOLDS,
    Event,
    Leak,
    epsilon_lower_bound,
    epsilon_of_event,
    gamma_lower_bound,
    gamma_of_event,
    leak,
    leak_of,
    mu_lower_bound,
    mu_of_event,
)
from jaxmia.privacy.joint import epsilon_joint, joint_p_value, mu_joint
from jaxmia.privacy.membership import (
    ExampleGamma,
    Family,
    Membership,
    bounded,
    family_of,
    fixed_size,
    fixed_size_posterior,
    gamma_of_examples,
    half,
    identifiable,
    independent,
    membership_gamma,
    membership_privacy,
    one_unknown,
    posterior_allowed,
    relation_of,
    sampled,
    worst_case,
)
from jaxmia.privacy.one_run import (
    OneRun,
    epsilon_one_run,
    epsilon_one_run_gaussian,
    guessed,
    mu_one_run,
    one_run_refutes,
)
from jaxmia.privacy.pilots import Pilot, pilot

__all__ = [
    "THRESHOLDS",
    "Event",
    "ExampleGamma",
    "Family",
    "Leak",
    "Membership",
    "OneRun",
    "Pilot",
    "Profile",
    "bounded",
    "converted",
    "dp_sgd_profile",
    "epsilon_joint",
    "epsilon_lower_bound",
    "epsilon_of_event",
    "epsilon_one_run",
    "epsilon_one_run_gaussian",
    "family_of",
    "fixed_size",
    "fixed_size_posterior",
    "gamma_lower_bound",
    "gamma_of_event",
    "gamma_of_examples",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_tpr_bound",
    "guessed",
    "half",
    "identifiability_bound",
    "identifiable",
    "independent",
    "joint_p_value",
    "leak",
    "leak_of",
    "membership_gamma",
    "membership_privacy",
    "mu_from_auc",
    "mu_joint",
    "mu_lower_bound",
    "mu_of_event",
    "mu_one_run",
    "one_run_refutes",
    "one_unknown",
    "pilot",
    "posterior_allowed",
    "posterior_bound",
    "posterior_bound_of_event",
    "relation_of",
    "sampled",
    "tpr_bound",
    "worst_case",
]
