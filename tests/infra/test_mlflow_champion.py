"""The champion is that of the last run, in whatever order and however often runs are told, and after MLflow was emptied."""

from __future__ import annotations

from tests.infra.small import Small


def attempt(outcome: object) -> str:
    return str(outcome.manifests["tune"].attempt)  # type: ignore[attr-defined]


def test_a_replay_of_an_old_run_does_not_dethrone_a_newer_champion(small: Small) -> None:
    old, new = small.run(rate=1), small.run(rate=2)
    before = small.aliases(), small.versions()
    assert before == ({"champion": "2", "previous": "1"}, {"1": attempt(old), "2": attempt(new)})
    small.track(old.run)
    assert (small.aliases(), small.versions()) == before


def test_what_a_person_chose_stays_chosen(small: Small) -> None:
    runs = [small.run(rate=rate).run for rate in (1, 2, 3)]
    small.client.set_registered_model_alias("small", "champion", "1")
    small.track(*runs)
    assert small.aliases()["champion"] == "1"


def test_an_old_run_told_late_is_a_version_and_not_the_champion(small: Small) -> None:
    old, new = small.run(rate=1, trackers=[]), small.run(rate=2)
    small.track(old.run)
    assert small.aliases()["champion"] == "1" and small.versions() == {"1": attempt(new), "2": attempt(old)}


def test_the_newest_run_told_late_is_the_champion(small: Small) -> None:
    small.run(rate=1)
    new = small.run(rate=2, trackers=[])
    small.track(new.run)
    assert small.aliases() == {"champion": "2", "previous": "1"} and small.versions()["2"] == attempt(new)


def test_an_emptied_mlflow_gets_the_same_versions_and_champion_again(small: Small) -> None:
    untold = small.run(rate=9, trackers=[])
    small.run(rate=1)
    small.run(rate=2)
    small.run(rate=1, limit=2, trackers=[])
    back = small.run(rate=1, bug=False)  # all is cached: no run
    assert not back.run
    before = small.aliases(), small.versions()
    small.empty()
    small.track()
    aliases, versions = small.aliases(), small.versions()
    assert {number: versions[number] for number in before[1]} == before[1]
    assert aliases == {"champion": "4", "previous": "2"}, "the run that nobody was told of is newer"
    assert versions["3"] == attempt(untold), "an old one comes after those on record"
    small.empty()
    small.track()
    assert (small.aliases(), small.versions()) == (aliases, versions), "and what is noted since is the same again"


def test_a_new_run_after_mlflow_was_emptied_counts_on_from_the_versions_on_record(small: Small) -> None:
    old = small.run(rate=1)
    small.empty()
    new = small.run(rate=2)
    assert small.versions() == {"1": attempt(old), "2": attempt(new)}
    assert small.aliases() == {"champion": "2", "previous": "1"}
