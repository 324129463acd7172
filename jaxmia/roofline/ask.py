"""An experiment asked about a device that is not here: its programs, and what bounds its speed."""

import functools
from collections.abc import Callable
from typing import NamedTuple

from jaxmia import data as sources
from jaxmia.data.blank import blanks, ready_or_blank
from jaxmia.experiment import Experiment
from jaxmia.federated import Federation
from jaxmia.roofline import fit, programs, target
from jaxmia.roofline.bound import Bound, bound
from jaxmia.roofline.child import EndedError, in_child
from jaxmia.roofline.compiled import Compiled, compiled
from jaxmia.roofline.devices import Accelerator
from jaxmia.training import block as block_of
from jaxmia.training.plan import block_size
from jaxmia.types import Data

WIDTHS = (1, 8)  # compiled to choose from, unless one is given


class Refusal(NamedTuple):
    """A program that does not compile, and what the compiler says."""

    name: str
    width: int
    reason: str


class Answer(NamedTuple):
    """What there is to say of an experiment on a device.

    `tried` are the training programs by width, `programs` all those of the chosen width, `bounds`
    the least seconds of a model in each of them; nothing is chosen where no training compiles.
    """

    device: Accelerator
    models: int
    blanks: list[str]
    refusals: list[Refusal]
    tried: list[tuple[Compiled, Bound]]
    programs: list[Compiled]
    bounds: list[Bound]
    largest_width: int
    largest_block: int

    @property
    def whole(self) -> Bound:
        """Of a model's whole way through all programs."""
        whole = Bound(0.0, 0.0, 0.0)
        for one in self.bounds:
            whole = whole.plus(one)
        return whole

    @property
    def too_large(self) -> list[Compiled]:
        """Programs that need more than a chip's memory."""
        return [p for p in self.programs if not fit.fits(p, self.device.chip.memory)]

    @property
    def sound(self) -> bool:
        """Whether all of it compiles and fits."""
        return not (self.refusals or self.too_large)

    @property
    def models_per_hour(self) -> float:
        """At most, on all chips together; 0 where something does not compile or does not fit."""
        seconds = sum(b.seconds for b in self.bounds)
        return 3600 * self.device.chips / seconds if seconds and self.sound else 0.0


def ask(
    experiment: Experiment,
    device: Accelerator,
    width: int | str = "auto",
    block: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Answer:
    """Compiles an experiment's programs, each in a process of its own, and adds up their costs.

    The widths `WIDTHS` are tried on the training program, unless one is given. Raises `ValueError`
    where the device's compiler is not installed, saying how to install it.
    """
    target.check(device)
    source = ready_or_blank(experiment.data)
    # what cannot be trained at all is refused here
    block_of.examples(experiment.networks, sources.usable(source()))
    here = device.chips if device.chip.platform == "cuda" else min(target.HOST_CHIPS, device.chips)
    share = -(-experiment.models * here // device.chips)  # of one process
    refusals: list[Refusal] = []

    def attempt(name: str, width: int) -> Compiled | None:
        say(f"compiling {name} for {device.name}, width {width}")
        models = block_size(width, here, share, block) // here
        build = functools.partial(programs.of_experiment, experiment, name, width, models)
        try:
            return in_child(compiled, build, device)
        except EndedError as error:
            refusals.append(Refusal(name, width, str(error)))
            return None

    def least(program: Compiled) -> Bound:
        return bound(program.of_model, device.chip, experiment.networks.dtype)

    most = max(1, share // here)
    widths = [width] if isinstance(width, int) else [w for w in WIDTHS if w <= most]
    trains = [one for w in widths if (one := attempt("train", w))]
    tried = [(one, least(one)) for one in trains]
    best_programs: list[Compiled] = []
    if tried:
        roomy = [pair for pair in tried if fit.fits(pair[0], device.chip.memory)]
        best = min(roomy or tried[:1], key=lambda pair: pair[1].seconds)[0]
        rest = [attempt(name, best.width) for name in programs.names(experiment)[1:]]
        best_programs = [best, *(one for one in rest if one)]
    return Answer(
        device,
        experiment.models,
        blanks(source),
        refusals,
        tried,
        best_programs,
        [least(one) for one in best_programs],
        fit.largest_width(trains, device.chip.memory) if trains else 0,
        fit.largest_block(best_programs, device.chip.memory) if best_programs else 0,
    )


def ask_federation(
    settings: Federation, source: Callable[[], Data], device: Accelerator, width: int = 1
) -> tuple[Compiled, Bound]:
    """One federation's program on the chips of one host, and the least seconds it takes there.

    Raises `ValueError` as `ask` does, and with the compiler's message where it does not compile.
    """
    target.check(device)
    build = functools.partial(programs.of_federation, settings, source, width)
    try:
        program = in_child(compiled, build, device)
    except EndedError as error:
        raise ValueError(f"--on {device.name}: {error}") from error
    return program, bound(program.costs.total, device.chip, settings.recipe.dtype)
