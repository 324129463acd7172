"""What the compilers of devices that are not here make of the recipes: structure, no speeds."""

import dataclasses
import functools
import importlib
import json

import jax
import pytest

import jaxmia
from jaxmia import data, recipes
from jaxmia.data.blank import ready_or_blank
from jaxmia.models import mlp, resnet
from jaxmia.roofline import compiled, hlo, programs, target
from jaxmia.roofline.child import in_child
from jaxmia.roofline.cost import collectives, costs
from jaxmia.roofline.devices import accelerator

needs_cuda = pytest.mark.skipif(
    not target.installed("cuda"), reason="the compiler for GPUs is not installed (jaxmia[cuda])"
)
needs_tpu = pytest.mark.skipif(
    not target.installed("tpu"), reason="the compiler for TPUs is not installed (jaxmia[tpu])"
)
# kernels and MB of a model's training step for an H100, by recipe and width, as compiled with
# jax 0.10.2; a step may take 5 % more
STEPS = {
    ("cifar10_fast", 1): (163.8, 4807),
    ("cifar10_fast", 8): (20.1, 4982),
    ("cifar10_lira", 1): (507.6, 4368),
    ("cifar10_lira", 8): (61.6, 4653),
    ("resnet20", 1): (372.2, 908),
    ("resnet20", 8): (44.4, 942),
}


def experiment(name):
    if name != "resnet20":
        return importlib.import_module(f"experiments.{name}").experiment
    fast = importlib.import_module("experiments.cifar10_fast").experiment
    recipe = dataclasses.replace(fast.recipe, model=resnet(20), batch_size=128)
    return dataclasses.replace(fast, recipe=recipe)


def built(of, device, program="train", width=8, models=16):
    """A program's compiled text, read; the compiler may end its process."""
    build = functools.partial(programs.of_experiment, of, program, width, models)
    return hlo.parse(in_child(compiled.text, build, accelerator(device)))


def parameters(of):
    source = ready_or_blank(of.data)
    return jax.tree.leaves(jax.eval_shape(of.recipe.model(source()).init, jax.random.key(0))[0])


@needs_cuda
@pytest.mark.soak
@pytest.mark.parametrize(("name", "width"), STEPS)
def test_a_training_step_on_a_gpu(name, width):
    of = experiment(name)
    module = built(of, "h100", width=width, models=2 * width)
    kinds = costs(module).kinds
    steps = 25_000 // of.recipe.batch_size
    kernels, megabytes = STEPS[name, width]
    total = costs(module).total.times(1 / steps / (2 * width))
    assert total.kernels < 1.05 * kernels and total.bytes < 1.05e6 * megabytes
    assert not collectives(module)
    leaves = parameters(of)
    convolutions = sum(leaf.ndim == 4 for leaf in leaves)
    weight_gradients = kinds["convolution, weight gradient"].kernels
    assert weight_gradients == convolutions * steps * 2  # as many as kernels, in each of two turns
    largest = 2 * width * max(leaf.size for leaf in leaves)
    for i in hlo.reached(module, module.entry):
        if i.opcode in ("fusion", "custom-call", "copy", "convert"):
            sizes = [a.size for a in i.arrays if a.dtype == "f32"]
            assert max(sizes, default=0) <= largest, (i.name, i.shape)  # masters, no activations


@needs_cuda
@pytest.mark.soak
@pytest.mark.parametrize("name", ["digits", "ladder", "cifar10_small", "cifar10_lira"])
def test_all_that_a_run_asks_compiles_for_a_gpu(name):
    of = experiment(name)
    for program in programs.names(of):
        module = built(of, "h100", program)
        assert not collectives(module) and costs(module).total.kernels > 0


@needs_cuda
@pytest.mark.soak
def test_dp_sgd_compiles_for_a_gpu():
    pytest.importorskip("jax_privacy")
    from jaxmia.defences import dp_sgd

    of = experiment("cifar10_small")
    recipe = dp_sgd(recipes.sgd(resnet(8, norm="group"), epochs=2, batch_size=64), epsilon=8.0)
    module = built(dataclasses.replace(of, recipe=recipe), "h100", width=2, models=4)
    assert not collectives(module)


@needs_tpu
@pytest.mark.soak
@pytest.mark.parametrize("name", ["digits", "cifar10_fast"])
def test_a_training_step_on_a_tpu(name):
    module = built(experiment(name), "tpu-v5e-8", width=1, models=2)
    total = costs(module)
    assert not collectives(module) and total.unknown_loops == 0
    assert total.total.operations > 0


def small():
    source = data.synthetic(60, 8, 3, test=20)
    return jaxmia.Experiment("small", source, recipes.sgd(mlp(8), epochs=3, batch_size=16), 8)


@needs_cuda
def test_a_small_experiment_on_an_h100(capsys):
    flags = ["--explain", "--on", "h100", "--json", "--quiet", "--width", "2", "--price", "2"]
    jaxmia.cli(small(), flags)
    answer = json.loads(capsys.readouterr().out)
    assert not answer["refusals"], answer
    assert answer["measured"] is False and answer["bound_models_per_hour"] > 0
    assert all(p["collectives"] == {} for p in answer["programs"].values())
    assert answer["bound_price"] == pytest.approx(2 * answer["bound_hours"])
