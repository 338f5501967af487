"""The pages people read tell the truth: their files and commands do what they say, and what they name is there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.modal_servicer.service import Service
from tests.on_modal import why_not
from tests.pages import blocks, follow
from tests.s3 import S3

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
TIME = r"\d[\d.]* (s|min \d\d s)"
"""What was measured: a busy machine takes longer."""


@pytest.mark.slow
def test_the_readmes_stage_and_dag_run_as_they_stand(tmp_path: Path) -> None:
    _, first, second, tested = follow(ROOT / "README.md", tmp_path, dict(os.environ))
    assert "first-words" in first
    assert re.search(r"collect\s+cached", second), second
    assert "1 passed" in tested


@pytest.mark.slow
def test_your_data_goes_from_json_lines_to_a_chat_model(tmp_path: Path) -> None:
    _, plan, _, again = follow(ROOT / "docs" / "your-data.md", tmp_path, dict(os.environ))
    assert "10 to run" in plan
    assert re.search(r"pretrain\s+cached", again) and re.search(r"sft\s+run", again), again
    assert list((tmp_path / ".corpusmill").glob("serve/*/*/data/smoke.json"))


def test_reruns_run_just_what_was_touched(tmp_path: Path) -> None:
    _, turned, _, back, alone, again, _, extend, extended = follow(
        ROOT / "docs" / "reruns.md", tmp_path, dict(os.environ)
    )
    assert re.search(r"count\s+run .*longer 1 → 2", turned) and re.search(r"say\s+cached", turned)
    assert "2 cached, 0 to run" in back
    assert "1 finished, 1 cached" in alone
    assert "1 finished, 1 cached" in again, "the same words again: nothing below runs"
    assert "extend 1,000 → 2,000" in extend and "1 finished" in extended
    first, second = (
        path.read_text()
        for path in sorted(tmp_path.glob(".corpusmill/primes/*/*/data/primes.txt"), key=os.path.getsize)
    )
    assert (second.startswith(first + " "), second[-5:]) == (True, "17389")


def test_decisions_are_asked_for_and_kept(tmp_path: Path) -> None:
    first, priced, drift, asked, accepted, kept, rebuilt, _ = follow(
        ROOT / "docs" / "decisions.md", tmp_path, dict(os.environ)
    )
    assert re.search(r"letters\s+finished .* unknown .* <?\$", first)
    assert re.search(r"letters\s+run .* <?\$\S+\s+text a tale", priced)
    assert "drift  " in drift and "letters.py:count changed" in drift
    assert "--rebuild letters builds again, --accept letters keeps what is there" in asked
    assert "1 cached" in accepted and "accepted by " in kept and "1 finished" in rebuilt


def test_the_ledger_tells_what_was_spent_lost_and_can_go(tmp_path: Path) -> None:
    failed, _, listed, shown, _, differs, sound, _, plan, gone, _ = follow(
        ROOT / "docs" / "ledger.md", tmp_path, dict(os.environ)
    )
    assert "the network is down" in failed
    runs = listed.splitlines()
    assert re.search(r"done .* \$\S+ +–  .*words", runs[1]) and re.search(rf"failed .* \$\S+ +{TIME}", runs[2]), runs
    assert re.search(rf"^lost +{TIME},.*\$", shown, re.MULTILINE), shown
    assert "measure: settings\n  longer  1 → 2" in differs and "2 artifacts" in sound
    assert re.search(r"^measure +1 ", plan, re.MULTILINE) and gone.endswith("removed\n")
    assert len(list(tmp_path.glob(".corpusmill/measure/*/*/data"))) == 1


@pytest.mark.slow
def test_what_was_made_elsewhere_is_adopted_and_a_source_is_pinned(tmp_path: Path) -> None:
    page = ROOT / "docs" / "adopt-and-sources.md"
    _, adopted, _, plan, run, _, lock, _, changed, again, last = follow(page, tmp_path, dict(os.environ))
    assert adopted.startswith("adopted: chats, 1 file,") and "AdoptChats(digest=" in adopted
    assert re.search(r"adopt-chats\s+cached .*adopted from /", plan), plan
    assert "2 finished, 1 cached" in run
    assert 'at = "raw/*.txt"' in lock
    assert re.search(r"raw/\*\.txt\s+changed since", changed), changed
    assert re.search(r"raw/\*\.txt: [0-9a-f]{12} → [0-9a-f]{12}", again), again
    assert re.search(r"collect\s+run .*source\.content", last), last


@pytest.mark.slow
def test_the_lineage_tells_what_a_model_was_made_of_and_what_holds_a_source(tmp_path: Path) -> None:
    _, ran, made, down, chart, _, _, impact, card = follow(ROOT / "docs" / "lineage.md", tmp_path, dict(os.environ))
    assert "6 finished" in ran
    assert re.search(r"^  tales +\d+ .* 7\d\.\d % +CC0-1\.0 +[0-9a-f]{12} +tales$", made, re.MULTILINE), made
    assert re.search(r"^pretrain · Model · .* ← encode, train-tokenizer$", down, re.MULTILINE), down
    assert chart.startswith("flowchart LR") and (tmp_path / "lineage.html").read_text().startswith("<!doctype html>")
    assert {"tales", "notes"} == set(json.loads((tmp_path / "lineage.json").read_text())["sources"])
    assert re.search(r"^pretrain +Model ", impact, re.MULTILINE) and re.search(r"collect-notes .* goes ", impact), (
        impact
    )
    assert re.search(r"\| tales \| .* \| CC0-1.0 \| .* 7\d\.\d% \|", card), card
    assert 'license_name: "cc-by-4.0-and-cc0-1.0"' in card
    assert re.search(r"5 artifacts hold it, 1 of them models; 4 would be rebuilt: about ", impact)


def test_stages_run_at_places_that_are_compared_before(tmp_path: Path) -> None:
    _, planned, ran, offers, limited, _, shown = follow(ROOT / "docs" / "places.md", tmp_path, dict(os.environ))
    assert re.search(r"^read +run +ray .*\ntrain +run +inline ", planned, re.MULTILINE), planned
    assert "2 finished" in ran and "1 finished, 1 cached" in limited
    assert re.search(rf"^here +{TIME} .* (no: train needs 70 of |yes)", offers, re.MULTILINE), offers
    assert re.search(r"^A100-40GB on modal .* no: train needs 71 of 39 GiB$", offers, re.MULTILINE)
    assert re.search(r"^H100 on modal .* \$\S+ +yes$", offers, re.MULTILINE) and shown.startswith("artifact")


def test_a_store_in_a_bucket_is_shared_by_machines(s3: S3, tmp_path: Path) -> None:
    s3.bucket("corpus")
    first, second = follow(
        ROOT / "docs" / "stores.md", tmp_path, {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "here")}
    )
    assert "2 finished" in first and "1 finished, 1 cached" in second
    assert [path.name for path in tmp_path.glob("elsewhere/corpusmill/stores/*/say/*/*/data/*")] == ["words.txt"]


def test_manifests_are_rendered_as_the_page_says(tmp_path: Path) -> None:
    *wrote, task = follow(ROOT / "docs" / "manifests.md", tmp_path, dict(os.environ))
    assert "".join(wrote).split() == [
        "wrote", "Dockerfile", "wrote", "Dockerfile.dockerignore", "wrote", "job.yaml", "wrote", "task.yaml",
    ]  # fmt: skip
    assert "accelerators:\n    H100: 2" in task and "infra: gcp/us-central1" in task


def test_the_doctor_is_asked_as_the_page_says(tmp_path: Path) -> None:
    shown, told = follow(ROOT / "docs" / "doctor.md", tmp_path, dict(os.environ))
    assert re.search(r"^store +ok ", shown, re.MULTILINE) and json.loads(told)["ok"] is True
    listed = re.findall(r"^\| ([a-z, ]+) \|", (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8"), re.MULTILINE)[
        1:
    ]
    named = {name.strip() for line in listed for name in line.split(",")}
    assert {one["check"].partition(",")[0] for one in json.loads(told)["checks"]} <= named


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_model_is_trained_on_modal_and_comes_back(modal_service: Service, tmp_path: Path) -> None:
    environment = {**os.environ, **modal_service.environment, "CORPUSMILL_MODAL_VOLUME": "of-the-page"}
    quickstart, plan, begun, ended = follow(ROOT / "docs" / "gpus.md", tmp_path, environment)
    assert re.search(r"pretrain +run +modal .*\$", quickstart) and re.search(r"serve .*stays here", quickstart)
    assert re.search(r"bigrams\s+run ", plan) and "moves between places" in plan, plan
    assert "goes on by itself" in begun
    assert re.search(r"bigrams\s+finished .*\$", ended) and "2 finished" in ended, ended
    assert modal_service.started("execute")[-1].function.gpu == "L4:1"
    assert list(tmp_path.glob(".corpusmill/bigrams/*/*/data/model.json"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_option_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    words = r"((?:infra [a-z]+ )?[a-z]+)"  # a group is told of by its commands
    named = set(re.findall(rf"(?:`|^|bin/)corpusmill {words}", text, re.MULTILINE))
    options = set(re.findall(rf"corpusmill {words} [^`\n]*?(--[a-z-]+)", text))
    for command in sorted(named):
        corpusmill = Path(sys.executable).parent / "corpusmill"
        done = subprocess.run([corpusmill, *command.split(), "--help"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        missing = [option for owner, option in options if owner == command and option not in done.stdout]
        assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_make_target_that_a_page_names_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ {4})make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - targets == set()


def test_a_file_and_a_command_are_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python one.py\nprint(1)\n```\n\n```sh\n# why\npython one.py\n```\n\n```text\nrm nothing\n```\n")
    assert [(block.file, block.commands) for block in blocks(page)] == [
        ("one.py", []),
        ("", ["python one.py"]),
        ("", []),
    ]


def test_a_command_that_fails_is_told_with_its_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\npython -c 'raise SystemExit(\"no luck\")'\n```\n")
    with pytest.raises(AssertionError, match="no luck"):
        follow(page, tmp_path, dict(os.environ))
