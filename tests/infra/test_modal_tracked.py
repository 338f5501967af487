"""A detached run on Modal and MLflow: whoever follows it, how often and how long, MLflow has it once, as the store has it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.executors.helpers import SECONDS, words_in
from tests.infra.small import Small
from tests.infra.test_truth import label, runs, same_story
from tests.modal_servicer.service import Service
from tests.on_modal import Home, a_trace, until, why_not

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]

DAG = """
from pipeline import Dag
from tests.infra.small import Learn, Tune
from tests.pipeline.toys import Held

def small(*, trace: str) -> Dag:
    first = Learn(words=Held(words=tuple("abc"), trace=trace, gate=f"{trace}-gate").out)
    return Dag(Tune(model=first.out))
"""


def test_a_run_that_is_followed_left_and_followed_again_is_in_mlflow_once(
    tmp_path: Path, modal_service: Service, blank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".corpusmill").mkdir()
    small = Small(tmp_path / ".corpusmill", blank, monkeypatch.setenv)
    home = Home(tmp_path, modal_service, DAG)
    with a_trace() as trace:
        run = home.detached("small", f"trace={trace}")
        follower = home.begin("attach", run)
        until(lambda: [one for one in runs(small.client) if label(one) == "held"])
        follower.send_signal(signal.SIGINT)
        out, err = follower.communicate(timeout=SECONDS)
        assert follower.returncode == 130 and "left; run" in err, out + err
        killed = home.begin("attach", run)
        trace.with_name(f"{trace.name}-gate").touch()
        until(lambda: words_in(trace) == "abc")
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
        assert "3 finished" in home.said("attach", run)
    same_story(small)
    home.said("attach", run)
    same_story(small)
    (learned,) = [one for one in runs(small.client) if label(one) == "learn"]
    points = small.client.get_metric_history(learned.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in points) == [(0, 3.0), (1, 2.0), (2, 1.0)]
    (version,) = small.client.search_model_versions("name = 'small'")
    (made,) = home.store.of_stage("tune")
    assert version.tags["corpusmill.attempt"] == made.attempt and made.executor == "modal"
