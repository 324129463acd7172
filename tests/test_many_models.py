"""The benchmark of many models measures a run that is killed and made to its end."""

import json

import pytest

from experiments.benchmarks import many_models


@pytest.mark.soak
def test_a_small_one(tmp_path, capsys):
    flags = many_models.Flags(models=160, kills=2, again=8, folder=tmp_path, results=tmp_path)
    many_models.main(flags)
    row = json.loads(capsys.readouterr().out)
    assert row == json.loads((tmp_path / "many_models.jsonl").read_text())
    assert row["same_bits_as_not_killed"] and row["broken"] == [] and row["blocks"] > 1
    assert row["kills"] == 2 and 0.1 < row["peak_resident_gib"] < 4
    assert row["signals"]["bytes"] < row["run"]["bytes"]
    assert set(row["auc"]) == set(flags.attacks)
