"""What runs did and cost, read from their records and events alone: also of a run that was killed, or is still on.

A record that cannot be read is named in `complaints`, and the rest is told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import chunks
from pipeline.driver import DRIVER, HANDLE, REST, SILENT_SECONDS, Handle
from pipeline.events import Event
from pipeline.lease import is_held
from pipeline.manifest import Cost
from pipeline.spent import Session, total
from pipeline.store import Store, place_of
from pipeline.tracker import EndRecord, RunRecord, StageRecord, State, verdict

UNHEARD_SECONDS = 30.0
"""A run of another machine that has told nothing for so long is taken for dead: a heartbeat comes every few seconds."""

R = TypeVar("R", bound=BaseModel)
SETTLED = "account.json"
"""The account of a run that is over, as one record."""

Ended = Literal["done", "failed", "stopped", "killed", "running", "detached"]
"""How a run ended; ``detached`` is one that may be on or over: what is on record here does not tell, and who follows it does."""
OPEN: tuple[Ended, ...] = ("running", "detached")
ENDS: dict[State, Ended] = {"finished": "done", "failed": "failed", "stopped": "stopped"}


class _Account(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageAccount(_Account):
    """One stage of a run: what was planned, how it ended, what this run spent on it, and the attempt it ended with."""

    stage: str
    state: str
    reason: str
    fault: str = ""
    attempt: str = ""
    expected_seconds: float | None = None
    expected_dollars: float | None = None
    cost: Cost = Cost()
    lost: Cost = Cost()
    idle: Cost = Cost()


class Account(_Account):
    """One run. `seconds` is from its beginning to its end, or to the last sign of it; costs are what it spent itself.

    `priced` are the dollars of those stages that have a price; ``cost.dollars`` is None where one that ran has none.
    `driver` is what of the cost was spent to drive a detached run, by all its drivers one after the other; its time passed beside
    that of the stages, and is not counted again.
    """

    run: str
    dag: str
    dials: dict[str, Any]
    part: str
    executor: str
    started: float
    seconds: float
    ended: Ended
    stages: dict[str, StageAccount]
    cost: Cost
    lost: Cost
    idle: Cost = Cost()
    driver: Cost = Cost()
    priced: float | None = None
    complaints: list[str] = []


def runs(store: Store) -> list[str]:
    """The ids of all runs, newest first."""
    return [name for name in reversed(store.files.children(".runs")) if not name.startswith(".")]


def record(store: Store, run: str) -> RunRecord | None:
    """What a run set out to do, or None where that cannot be read."""
    return _read(store, RunRecord, f".runs/{run}/run.json", [])


def end(store: Store, run: str) -> EndRecord | None:
    """How a run ended, or None where nobody wrote that down: it was killed, or is still on."""
    return _read(store, EndRecord, f".runs/{run}/end.json", [])


def account(store: Store, run: str) -> Account | str:
    """The account of a run, or why there is none."""
    complaints: list[str] = []
    if settled := _read(store, Account, f".runs/{run}/{SETTLED}", complaints):
        return settled
    begun = _read(store, RunRecord, f".runs/{run}/run.json", complaints)
    if begun is None:
        return complaints[0] if complaints else f"{store.url}/.runs/{run} has no run.json: it was cut short as it began"
    held = _is_held(store, run)  # asked before its end is: who lets go of a run has written that down
    end = _read(store, EndRecord, f".runs/{run}/end.json", complaints)
    telling = {one.label for one in chunks.sessions(store.files, run)}
    told = {label: _Told(store, run, label, complaints, label in telling) for label in (*begun.stages, DRIVER)}
    last = end.ended if end else max([begun.started, *(one.last for one in told.values())])
    life = _life(store, run, last, held, complaints) if end is None else "killed"
    stages = {label: _stage(label, drawn, told[label], end, life) for label, drawn in begun.stages.items()}
    if life not in OPEN:
        stages = {label: _published(store, run, label, one, told[label].first) for label, one in stages.items()}
    driver = total(session.cost for session in told[DRIVER].sessions)
    costs = [*(stage.cost for stage in stages.values()), driver]
    priced = [cost.dollars for cost in costs if cost.dollars is not None]
    return Account(
        run=run,
        dag=begun.dag,
        dials=begun.dials,
        part=begun.only,
        executor=begun.executor,
        started=begun.started,
        seconds=round((time.time() if life == "running" else last) - begun.started, 3),
        ended=ENDS[verdict({stage.state for stage in stages.values()})] if end else life,
        stages=stages,
        cost=total(costs).model_copy(update={"wall_seconds": total(costs[:-1]).wall_seconds}),
        lost=total(one.lost for one in stages.values()),
        idle=total(one.idle for one in stages.values()),
        driver=driver,
        priced=round(sum(priced), 6) if priced else None,
        complaints=complaints,
    )


def settle(store: Store, run: str) -> dict[str, Cost]:
    """Put the account of a run that is over on record, so that it is read at once, and outlives the events.

    Returns what the run spent on each of its stages, and on its driver, where it had one elsewhere.
    """
    one = account(store, run)
    if not isinstance(one, Account):
        return {}
    store.files.create(f".runs/{run}/{SETTLED}", one.model_dump_json(indent=1).encode())
    driver = {DRIVER: one.driver} if one.driver.wall_seconds else {}
    return {label: stage.cost for label, stage in one.stages.items()} | driver


def sessions(store: Store, run: str, seen: dict[chunks.Session, int]) -> Iterator[Session]:
    """What every session of a run has cost, as it last said. Those of which nothing is newer than in `seen` are left out."""
    for one in chunks.sessions(store.files, run):
        newest = chunks.newest(store.files, run, one, seen.get(one, 0))
        if seen.get(one, 0) != newest:
            seen[one] = newest
            names = [f"{one.began}-{number:06d}.jsonl" for number in range(1, newest + 1)]
            for event in _backwards(store, f".runs/{run}/events/{one.label}", names, []):
                if event.kind == "cost":
                    yield Session.model_validate(event.data)
                    break


def attempts(store: Store, run: str) -> dict[str, str]:
    """The places in the store of what each label of a run ended with, or was cached as."""
    end, begun = _read(store, EndRecord, f".runs/{run}/end.json", []), record(store, run)
    if begun is None:
        return {}
    planned = {label: drawn.attempt for label, drawn in begun.stages.items() if drawn.attempt}
    if end is not None:
        return planned | end.attempts
    made = {label: _Told(store, run, label, []).attempt for label in begun.stages if label not in planned}
    return planned | {label: f"{begun.stages[label].stage}/{place}" for label, place in made.items() if place}


def _is_held(store: Store, run: str) -> bool:
    """Whether a process of this machine drives the run, or follows it."""
    return any(is_held(store.logs(run).with_name(name)) for name in ("lease", "attached"))


def _life(store: Store, run: str, last: float, held: bool, complaints: list[str]) -> Ended:
    """What of a run without an end is known; it was heard of `last` at that time, and `held` before its end was asked for.

    The beat of a driver elsewhere comes into the store where that is its own, else with whoever follows it.
    """
    silent = time.time() - last
    handle = _read(store, Handle, f".runs/{run}/{HANDLE}", complaints)
    if handle is None:
        alive = held if store.logs(run).with_name("lease").exists() else silent < UNHEARD_SECONDS
        return "running" if alive else "killed"
    if silent < SILENT_SECONDS or held:
        return "running"
    waits = handle.store != store.url or store.files.exists(f".runs/{run}/{REST}")
    return "detached" if waits else "killed"


def _stage(label: str, drawn: StageRecord, told: _Told, end: EndRecord | None, life: Ended) -> StageAccount:
    state = end.states.get(label, "") if end else "cached" if drawn.attempt else told.over
    if not state:
        began = "waiting" if told.waiting and life == "running" else life
        state = ("stopped" if end else began) if told.last else "not begun"
    place = f"{drawn.stage}/{told.attempt}" if told.attempt else ""
    over = told.sessions[:-1] if state in OPEN else told.sessions
    return StageAccount(
        stage=drawn.stage,
        state=state,
        reason=drawn.reason,
        fault=(end.faults.get(label, "") if end else "") or (told.fault if state == "failed" else ""),
        attempt=(end.attempts.get(label, "") if end else "") or drawn.attempt or place,
        expected_seconds=drawn.expected_seconds,
        expected_dollars=drawn.expected_dollars,
        cost=total(session.cost for session in told.sessions),
        lost=total(session.lost for session in over),
        idle=total(session.waited for session in told.sessions),
    )


def _published(store: Store, run: str, label: str, one: StageAccount, first: str) -> StageAccount:
    """The account of a stage that was cut short; where that was after its manifest, the stage has finished.

    `first` is the first chunk of its events, in which it says what key it makes.
    """
    if one.state in ("killed", "stopped") and first:
        folder, _, chunk = first.rpartition("/")
        keys = {event.data.get("key") for event in _backwards(store, folder, [chunk], []) if event.kind == "state"}
        for made in [made for key in keys if key for made in store.attempts(one.stage, str(key))]:
            if (made.run, made.label) == (run, label):
                return one.model_copy(update={"state": "finished", "attempt": place_of(made), "fault": ""})
    return one


class _Told:
    """The last that the events of one stage say: its sessions' costs, its state, its attempt, when it was heard of."""

    def __init__(self, store: Store, run: str, label: str, complaints: list[str], telling: bool = True) -> None:
        self.sessions: list[Session] = []
        self.over = self.fault = self.attempt = self.first = ""
        self.waiting = False
        self.last = 0.0
        folder = f".runs/{run}/events/{label}"
        jobs: dict[str, list[str]] = {}
        for name in store.files.children(folder) if telling else ():
            if name.endswith(".jsonl") and not name.startswith("."):
                jobs.setdefault(name.partition("-")[0], []).append(name)
        for names in jobs.values():
            self.first = f"{folder}/{names[0]}"
            self._read(_backwards(store, folder, names, complaints))

    def _read(self, events: Iterator[Event]) -> None:
        """One job's events, newest first; those before its last cost say nothing new."""
        state = self.over = self.fault = ""
        self.waiting = False
        for event in events:
            self.last = max(self.last, event.time)
            if event.kind == "state" and not state:
                state = str(event.data.get("state", ""))
                self.over = state if state in ("finished", "cached", "failed", "stopped") else ""
                self.waiting = state == "waiting"
                self.fault = str(event.data.get("fault", ""))
                if self.over in ("finished", "cached"):
                    self.attempt = f"{event.data.get('key', '')}/{event.data.get('attempt', '')}"
            if event.kind == "cost":
                self.sessions.append(Session.model_validate(event.data))
                return


def _backwards(store: Store, folder: str, names: Sequence[str], complaints: list[str]) -> Iterator[Event]:
    for name in reversed(names):
        for line in reversed(store.files.read(f"{folder}/{name}").decode(errors="replace").splitlines()):
            try:
                yield Event.model_validate_json(line)
            except ValidationError:
                complaints.append(f"{store.url}/{folder}/{name} holds a line that is no event")


def _read(store: Store, kind: type[R], name: str, complaints: list[str]) -> R | None:
    try:
        return kind.model_validate_json(store.files.read(name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError:
        complaints.append(f"{store.url}/{name} cannot be read: truncated, or written by a newer version")
        return None
