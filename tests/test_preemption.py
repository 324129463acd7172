import json

import numpy as np
import pytest

from experiments import preemption, streaming


@pytest.mark.parametrize(("save", "every"), [(0.5, 20.0), (5.0, 100.0), (0.0, 700.0)])
def test_the_simulation_meets_the_closed_form(save, every):
    rng = np.random.default_rng(0)
    found = preemption.wasted(rng, 3e6, save, every, 1000.0, 60.0)
    assert found == pytest.approx(preemption.closed_form(save, every, 1000.0, 60.0), rel=0.08)


def test_streaming_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["streaming", "--models", "8", "--examples", "2000"])
    streaming.main()
    row = json.loads(capsys.readouterr().out)
    assert 0.5 < row["attacks"]["lira_online"] < 1 and 0.05 < row["peak_resident_gib"] < 2
