"""Costs of compiled programs against counts made another way, and what is said of a device."""

import importlib
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.compilation_cache import compilation_cache

import jaxmia
from jaxmia import data, recipes
from jaxmia.data.blank import blanks, ready_or_blank
from jaxmia.models import mlp
from jaxmia.roofline import ask, hlo, programs, target, words
from jaxmia.roofline.bound import bound
from jaxmia.roofline.child import EndedError, in_child
from jaxmia.roofline.compiled import Compiled, Memory
from jaxmia.roofline.cost import Cost, Costs, collectives, costs
from jaxmia.roofline.devices import accelerator
from jaxmia.training import block, parallel

EXPERIMENTS = ("digits", "ladder", "tabular", "randhie", "cifar10_small", "cifar10_fast",
               "cifar10_lira")  # fmt: skip


def text_of(function, *shapes, dtype=jnp.float32):
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    return jax.jit(function).lower(*arguments).compile()


@pytest.mark.parametrize(
    ("name", "chips", "kind"),
    [("h100", 1, "h100"), ("h200-8", 8, "h200"), ("tpu-v5e-256", 256, "v5e"),
     ("tpu-v4-32", 16, "v4"), ("tpu-v5p-8", 4, "v5p")],
)  # fmt: skip
def test_devices_have_names(name, chips, kind):
    device = accelerator(name)
    assert (device.chips, device.kind) == (chips, kind)


@pytest.mark.parametrize("name", ["", "h101", "v5e-8", "tpu-h100-1", "tpu-v5e", "h100-0", "v4",
                                  "tpu-v4-31", "h100 "])  # fmt: skip
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="--on: "):
        accelerator(name)


@pytest.mark.parametrize("convolution", [
    {"window_strides": (1, 1), "padding": "SAME"},
    {"window_strides": (2, 1), "padding": ((2, 0), (-1, 3))},
    {"window_strides": (1, 1), "padding": ((0, 0), (0, 0)), "lhs_dilation": (2, 3)},
    {"window_strides": (1, 2), "padding": "SAME", "rhs_dilation": (2, 1)},
    {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
    {"window_strides": (1, 1), "padding": "SAME", "batch_group_count": 3},
])  # fmt: skip
def test_operations_of_convolutions_are_those_that_are_counted_one_by_one(convolution):
    channels = 4 // convolution.get("feature_group_count", 1)
    x, w = np.ones((6, 7, 8, 4), np.float32), np.ones((3, 2, channels, 6), np.float32)

    def run(x, w):
        return lax.conv_general_dilated(
            x, w, dimension_numbers=("NHWC", "HWIO", "NHWC"), **convolution
        )

    text = jax.jit(run).lower(x, w).compile().as_text()
    # of ones each output is the number of its multiplications
    assert costs(hlo.parse(text)).total.operations == 2 * np.asarray(run(x, w)).sum()


def test_loops_count_as_often_as_they_run():
    def run(x, w):
        return lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, None, length=7)[0]

    found_costs = costs(hlo.parse(text_of(run, (16, 32), (32, 32)).as_text()))
    assert found_costs.total.operations == 7 * 2 * 16 * 32 * 32
    assert found_costs.unknown_loops == 0
    least = 7 * 4 * (2 * 16 * 32 + 32 * 32)  # the product reads two arrays and writes one
    assert least <= found_costs.total.bytes <= 4 * least


GPU = """
HloModule jit_step, is_scheduled=true

%sliced (p0: f32[100,64], p1: s32[]) -> f32[1,64] {
  %p0 = f32[100,64]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %cut = f32[1,64]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,64}
  ROOT %twice = f32[1,64]{1,0} add(%cut, %cut)
}

%updated (p0: f32[100,64], p1: f32[1,64], p2: s32[]) -> f32[100,64] {
  %p1 = f32[1,64]{1,0} parameter(1)
  %p0 = f32[100,64]{1,0} parameter(0)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %put = f32[100,64]{1,0} dynamic-update-slice(%p0, %p1, %p2, %zero)
}

%body (state: (s32[], f32[100,64])) -> (s32[], f32[100,64]) {
  %state = (s32[], f32[100,64]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %rows = f32[100,64]{1,0} get-tuple-element(%state), index=1
  %row = f32[1,64]{1,0} fusion(%rows, %i), kind=kLoop, calls=%sliced
  %new = f32[100,64]{1,0} fusion(%rows, %row, %i), kind=kLoop, calls=%updated
  ROOT %next = (s32[], f32[100,64]{1,0}) tuple(%i, %new)
}

%cond (state: (s32[], f32[100,64])) -> pred[] {
  %state = (s32[], f32[100,64]{1,0}) parameter(0)
  ROOT %more = pred[] constant(true)
}

ENTRY %main (rows: f32[100,64], x: bf16[8,16,16,4], g: bf16[8,16,16,6]) -> bf16[3,3,4,6] {
  %rows = f32[100,64]{1,0} parameter(0)
  %x = bf16[8,16,16,4]{3,2,1,0} parameter(1)
  %g = bf16[8,16,16,6]{3,2,1,0} parameter(2)
  %i = s32[] constant(0)
  %start = (s32[], f32[100,64]{1,0}) tuple(%i, %rows)
  %loop = (s32[], f32[100,64]{1,0}) while(%start), condition=%cond, body=%body, TRIPS
  %all = f32[100,64]{1,0} all-reduce(%rows), replica_groups={}, to_apply=%cond
  %dw = (bf16[3,3,4,6]{3,2,1,0}, u8[0]{0}) custom-call(%x, %g), CONV
  ROOT %out = bf16[3,3,4,6]{3,2,1,0} get-tuple-element(%dw), index=0
}
"""
TRIPS = 'backend_config={"known_trip_count":{"n":"10"}}'
CONV = (
    "window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f, "
    'custom_call_target="__cudnn$convBackwardFilter"'
)


def test_a_gpus_program_by_hand():
    module = hlo.parse(GPU.replace("TRIPS", TRIPS).replace("CONV", CONV))
    kinds = costs(module).kinds
    assert collectives(module) == {"all-reduce": 1}
    row = 4 * 64
    # ten times: a row and its number are read, a row written; the number and a row read, written
    assert kinds["elementwise"] == Cost(10, 10 * (2 * row + 4), 0)
    assert kinds["copy"] == Cost(10, 10 * (2 * row + 4), 0)
    inside = 8 * 4 * 6 * (16 * 3 - 2) ** 2  # what the padding meets is no operation
    size = 2 * (8 * 16 * 16 * (4 + 6) + 9 * 4 * 6)
    assert kinds["convolution, weight gradient"] == Cost(1, size, 2 * inside)


def test_a_loop_without_a_note_runs_as_often_as_its_counter_is_compared():
    text = GPU.replace("TRIPS", "metadata={}").replace("CONV", CONV)
    assert costs(hlo.parse(text)).unknown_loops == 1
    compared = """%i.1 = s32[] get-tuple-element(%state), index=0
  %end = s32[]{:T(128)} constant(10)
  ROOT %more = pred[] compare(%i.1, %end), direction=LT"""
    counted = costs(hlo.parse(text.replace("ROOT %more = pred[] constant(true)", compared)))
    assert counted.unknown_loops == 0 and counted.kinds["copy"].kernels == 10


def test_a_tpus_memory_is_laid_out_in_tiles_and_nothing_moves_on_the_chip():
    (tiled,) = hlo.arrays("bf16[512,10,100]{0,2,1:T(8,128)(2,1)}")
    assert tiled.bytes == 2 * 512 * 10 * 104
    (near,) = hlo.arrays("bf16[512,10,100]{0,2,1:T(8,128)(2,1)S(1)}")
    assert (near.bytes, near.laid_out) == (0, tiled.bytes)
    assert [a.bytes for a in hlo.arrays("(f32[3]{0}, pred[5]{0}, s32[])")] == [12, 5, 4]


def test_bounds_are_the_data_sheets():
    chip = accelerator("h100").chip
    assert bound(Cost(0, 3.35e12, 0), chip, "float32").seconds == pytest.approx(1)
    assert bound(Cost(0, 0, 989.5e12), chip, "bfloat16").seconds == pytest.approx(1)
    assert bound(Cost(0, 0, 989.5e12), chip, "float32").seconds > 1.9
    assert bound(Cost(1e6, 0, 0), accelerator("tpu-v5e-8").chip, "float32").seconds == 0


def ends():
    os.write(2, b"a line\nF0000 00:00:00 tiling.cc:7] Check failed: a == b (256 vs. 32)\nmore\n")
    os.abort()


def test_a_process_that_ends_is_one_line():
    with pytest.raises(EndedError, match=r"by SIGABRT: .*Check failed: a == b \(256 vs. 32\)$"):
        in_child(ends)
    with pytest.raises(EndedError, match="^ValueError: invalid literal .* '1 2'$"):
        in_child(int, "1 2")
    assert in_child(sum, [1, 2]) == 3


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_can_be_sent_to_another_process(name):
    experiment = importlib.import_module(f"experiments.{name}").experiment
    assert pickle.loads(pickle.dumps(experiment)) == experiment


def test_sets_that_are_not_here_are_blanks_of_their_shape(tmp_path):
    source = data.first(data.tfds("cifar10", str(tmp_path)), 5000, 2000)
    here = data.usable(ready_or_blank(source)())
    assert here.x.shape == (5000, 32, 32, 3) and len(here.y_test) == 2000 and here.classes == 10
    assert blanks(ready_or_blank(source)) == ["cifar10"] and blanks(source) == []
    assert ready_or_blank(data.digits()) == data.digits()
    other = data.tfds("not_a_set", str(tmp_path))
    assert ready_or_blank(other) is other


def small(attacks=("lira_online", "gradient_norm", "loss_trajectory")):
    recipe = recipes.sgd(mlp(8), epochs=3, batch_size=16)
    return jaxmia.Experiment("small", data.synthetic(60, 8, 3, test=20), recipe, 8, attacks=attacks)


@pytest.fixture
def compiled_here():
    """No program of an earlier process, whose text is another."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def test_programs_are_those_of_a_run(compiled_here):
    mesh, experiment = parallel.mesh(), small()
    examples = data.usable(experiment.data())
    assert programs.names(experiment) == ["train", "query", "query_test", "white_box", "trajectory"]
    stages = block.programs(
        experiment.recipe, examples, experiment.views, members=30, width=2, mesh=mesh,
        convolution="tiled", extra={"gradient", "trajectory"},
    )  # fmt: skip
    keys = block.keys(mesh, 0, np.arange(8))
    state = stages.init(None, keys)
    member = parallel.spread(np.zeros((8, 60), bool), mesh)
    run = {
        "train": stages.epoch.lower((stages.pool, jnp.int32(0)), member, keys, state),
        "white_box": stages.gradients_of.lower(stages.pool, state),
    }
    for name, lowered in run.items():
        absent = programs.of_experiment(experiment, name, 2, 2, mesh)
        ours, theirs = (low.compile() for low in (absent.lower(), lowered))
        assert costs(hlo.parse(ours.as_text())) == costs(hlo.parse(theirs.as_text()))
        assert not collectives(hlo.parse(ours.as_text()))
        sizes = ours.memory_analysis()
        assert sizes.argument_size_in_bytes == theirs.memory_analysis().argument_size_in_bytes


def compiler(gigabytes, megabytes):
    """A compiler that gives every program such memory and bytes a step, by its width."""

    def compiled(function, build, device):
        name, width, models = build.args[1:]
        kinds = {"matrix product": Cost(1, models * megabytes[width] * 1e6, 1e6)}
        size = Memory(0, 0, int(gigabytes[width] * 1e9))
        return Compiled(name, width, models, 1, 1, 1.0, 0.0, size, Costs(kinds, 0), {})

    return compiled


@pytest.mark.parametrize(
    ("gigabytes", "width", "sound"),
    [({1: 3, 8: 40}, 8, True), ({1: 3, 8: 90}, 1, True), ({1: 81, 8: 90}, 1, False)],
)
def test_what_does_not_fit_on_a_chip_is_not_taken(gigabytes, width, sound, monkeypatch):
    monkeypatch.setattr(ask, "in_child", compiler(gigabytes, {1: 9, 8: 5}))  # width 8 is faster
    monkeypatch.setattr(target, "check", lambda device: None)
    answer = ask.ask(small(("lira_online",)), accelerator("h100"))
    assert answer.programs[0].width == width and answer.sound == sound
    text = "\n".join(words.lines(answer, price=2.0))
    assert ("bound: at most" in text) == ("at least" in text.split("fits on a chip")[1]) == sound
    assert ("train at width 1 DOES NOT FIT on a chip" in text) == (not sound)
    assert (words.as_json(answer)["bound_hours"] is not None) == sound


def test_what_is_not_installed_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(target, "PLUGINS", {"cuda": ("no_such_module",), "tpu": ("nor_this",)})
    for name, extra in (("h100", "cuda"), ("tpu-v5e-8", "tpu")):
        with pytest.raises(SystemExit) as end:
            jaxmia.cli(small(), ["--explain", "--on", name])
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line and f"pip install 'jaxmia[{extra}]'" in line


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--on", "h100"], "--explain"), (["--explain", "--price", "2"], "--on"),
     (["--explain", "--on", "h100", "--price", "-1"], "--price"),
     (["--explain", "--on", "toaster"], "--on: 'toaster'")],
)  # fmt: skip
def test_flags_that_do_not_go_together(flags, words, capsys):
    with pytest.raises(SystemExit) as end:
        jaxmia.cli(small(), flags)
    assert end.value.code == 2 and words in capsys.readouterr().err
