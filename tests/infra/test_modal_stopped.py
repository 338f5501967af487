"""Detached runs that are stopped: whoever follows is told, and no driver of theirs goes on, not even one that nobody knows of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.attaching import cancel
from pipeline.driver import HANDLE, Handle
from pipeline.plugins import executor_at
from pipeline.store import Store
from tests.executors.helpers import SECONDS, words_in
from tests.infra.test_modal_detached import DAG
from tests.modal_servicer.calls import done
from tests.modal_servicer.rpc import Call
from tests.modal_servicer.service import Service
from tests.on_modal import Home, a_trace, drivers, until, why_not

pytestmark = [pytest.mark.slow, pytest.mark.elsewhere, pytest.mark.skipif(bool(why_not()), reason=why_not())]


def test_who_follows_a_run_that_another_stops_is_told_and_nothing_more_is_spent(
    tmp_path: Path, modal_service: Service
) -> None:
    home = Home(tmp_path, modal_service, DAG)
    with a_trace() as trace:
        run = home.detached("long", f"trace={trace}")
        follower = home.begin("attach", run, "--tracker", "none")
        until(lambda: len(words_in(trace)) >= 2 and (home.store.logs(run).with_name("attached")).exists())
        assert f"run {run} is stopped" in home.said("attach", run, "--stop")
        out, err = follower.communicate(timeout=SECONDS)
        assert follower.returncode == 3 and "stopped it; what was committed is kept" in err, out + err
        assert "Traceback" not in out + err
        assert "first: stopped at a commit" in out and "upper: not begun when the run was stopped" in out, out
        assert [line.split()[-1] for line in out.splitlines() if re.match("upper +stopped", line)] == ["begun"], out
        modal_service.wait(lambda: not modal_service.running)
        seen = words_in(trace)
        assert "stopped" in home.said("show", run).split("ended")[1].split("\n")[0]
        again = home.said("attach", run, "--tracker", "none", code=3)
        assert "stopped it" in again, "it is the same whenever it is asked"
        assert words_in(trace) == seen


def written(service: Service, name: str) -> int:
    """How often somebody asked to write a file of that name, whether it is written already or not."""
    puts = service.asked("VolumePutFiles2")
    return sum(file.path.endswith(name) for asked in puts for file in asked.files)


@pytest.mark.parametrize("known", [True, False], ids=["it is written down", "nobody knows of it"])
def test_a_run_that_is_stopped_before_its_next_driver_has_begun_goes_on_no_further(
    known: bool, tmp_path: Path, modal_service: Service
) -> None:
    home = Home(tmp_path, modal_service, DAG, CORPUSMILL_MODAL_TRY_SECONDS="12")
    drove, name = len(modal_service.started("drive")), "/drivers/000001-next.json"
    before = written(modal_service, name)

    def of_the_next(call: Call) -> bool:
        return any(call.container is one for one in modal_service.started("drive")[drove + 1 :])

    def writes_it_down(call: Call) -> bool:
        here = any(file.path.endswith(name) for file in call.request.files)  # type: ignore[attr-defined]
        return here and not known and written(modal_service, name) == before + 2

    with a_trace() as trace:
        with (
            modal_service.held("ContainerHello", of_the_next) as begins,
            modal_service.held("VolumePutFiles2", writes_it_down) as writes,
        ):
            run = home.detached("long", f"trace={trace}")
            handle = home.store.read(Handle, f".runs/{run}/{HANDLE}")
            far, app = Store(handle.store), handle.words["app"]
            following = f".runs/{run}{name}"
            modal_service.wait(lambda: begins and (known or writes))
            until(lambda: not known or json.loads(far.files.read(following))["call"])
            assert len(drivers(modal_service, app)) == 2
            rented = len(modal_service.started("execute"))
            cancel(home.store, run, places=executor_at, who="ann")
            assert bool(json.loads(far.files.read(following))["call"]) is known
        modal_service.wait(lambda: not modal_service.running and all(map(done, drivers(modal_service, app))))
        assert len(drivers(modal_service, app)) == 2 and len(modal_service.started("execute")) == rented
        assert far.files.exists(f".runs/{run}/drivers/000002.json") is not known, "it began, and drove nothing"
    (row,) = json.loads(home.said("runs", "--json"))
    assert (row["ended"], row["stages"]["first"]["state"]) == ("stopped", "stopped"), row["stages"]
