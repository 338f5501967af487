"""Secrets are used by name and never written down: planted ones are looked for in all that real runs leave behind or print."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest

from pipeline import DagError, UsageError
from pipeline.dag import Dag
from pipeline.withheld import holds_password, masking
from tests.pipeline.toys import Say
from tests.s3 import S3

COMMAND = Path(sys.executable).parent / "corpusmill"

PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDONE00",
    "AWS_SECRET_ACCESS_KEY": "planted/two+aws/secret",
    "AWS_SESSION_TOKEN": "plantedthreesession",
    "MODAL_TOKEN_ID": "ak-plantedfour",
    "MODAL_TOKEN_SECRET": "as-plantedfive",
    "HF_TOKEN": "hf_plantedsix",
    "WANDB_API_KEY": "plantedseven",
    "MLFLOW_TRACKING_USERNAME": "planted-user-eight",
    "MLFLOW_TRACKING_PASSWORD": "planted-nine",
}
EXPECTED = (
    "mlflow.db", "run.json", "end.json", "manifest.json", "/events/", "/logs/", "rendered-kuberay", "rendered-dockerfile.dockerignore",
    "s3: mill/.runs/", "printed",
)  # fmt: skip
"""Parts of the names of what must have been looked at."""
ANYBODY = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anybody", "region_name": "us-east-1"}
IN_FILE = "planted-ten-of-the-env-file"
IN_URL = "planted-eleven-of-an-address"

DAG = '''"""words: two stages that look for secrets around them, and one that may fail."""

import contextlib
import os
import tempfile
from pathlib import Path

from pipeline import Artifact, Context, Dag, Field, Stage


class Say(Stage[Artifact]):
    """Write some words."""

    words: tuple[str, ...] = Field(default=("a", "tale"), description="the words")

    def run(self, out: Artifact, ctx: Context) -> None:
        print("a word on standard output")
        ctx.note("as the log shows")
        ctx.log(words=len(self.words))
        ctx.map(self.say, list(self.words))

    def say(self, word: str, folder: Path) -> None:
        (folder / f"{word}.txt").write_text(word)


class Look(Stage[Artifact]):
    """Look into the temporary folder, where Ray has its own logs while this runs."""

    text: Artifact
    bug: bool = Field(default=False, description="fail")

    def run(self, out: Artifact, ctx: Context) -> None:
        names = os.environ["PLANTED_NAMES"].split()
        assert all(os.environ.get(name) for name in names), "they are there to be used"
        found = []
        for folder, _, files in os.walk(tempfile.gettempdir()):
            for path in (Path(folder, file) for file in files):
                content = b""
                with contextlib.suppress(FileNotFoundError):  # Ray removes files of its own
                    if path.is_file() and not path.is_symlink():
                        content = path.read_bytes()
                found += [f"{name} {path.name}" for name in names if os.environ[name].encode() in content]
        (out.path / "found.txt").write_text("\\n".join(found))
        print("careless:", dict(os.environ)["HF_TOKEN"])
        ctx.note(f"careless too: {os.environ['AWS_SECRET_ACCESS_KEY']!r}")
        if self.bug:
            raise ConnectionError(f"the network is down for {os.environ['MODAL_TOKEN_SECRET']}")


def words(*, bug: bool = False) -> Dag:
    """Say, then Look."""
    return Dag(Look(text=Say().out, bug=bug))
'''


class Scene:
    """A working folder with a dag and a file .env, an environment full of secrets, and all that was printed."""

    def __init__(self, folder: Path, s3: S3) -> None:
        self.folder, self.s3, self.printed = folder, s3, list[str]()
        (folder / "words.py").write_text(DAG, encoding="utf-8")
        (folder / ".env").write_text(f"HF_TOKEN={IN_FILE}\nAWS_SECRET_ACCESS_KEY={IN_FILE}\n", encoding="utf-8")
        self.tmp = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))  # Ray's sockets do not allow a long name
        self.store = f"{s3.bucket()}/mill"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COV")},
            **s3.environment, **PLANTED, "PLANTED_NAMES": " ".join(PLANTED), "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(self.tmp), "COLUMNS": "200",
        }  # fmt: skip

    def run(self, *words: str, code: int = 0, **more: str) -> str:
        """What the command printed."""
        done = subprocess.run(
            [COMMAND, *words], cwd=self.folder, env={**self.environment, **more}, capture_output=True, text=True
        )
        self.printed.append(done.stdout + done.stderr)
        assert done.returncode == code, self.printed[-1]
        return self.printed[-1]

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Everything that is there now: files of this machine, objects in the bucket, what was printed."""
        for path in (*self.folder.rglob("*"), *self.tmp.rglob("*")):
            if path.is_file() and path != self.folder / ".env":
                yield (
                    str(path.relative_to(self.folder) if path.is_relative_to(self.folder) else path),
                    path.read_bytes(),
                )
        client = boto3.client("s3", endpoint_url=self.s3.environment["AWS_ENDPOINT_URL"], **ANYBODY)
        bucket = self.store.split("/")[2]
        for one in client.list_objects_v2(Bucket=bucket).get("Contents", ()):
            yield f"s3: {one['Key']}", client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
        yield from ((f"printed {place}", text.encode()) for place, text in enumerate(self.printed))

    def leaks(self) -> list[str]:
        """Where a secret stands, as it is or as the web writes it."""
        pair = f"{PLANTED['MLFLOW_TRACKING_USERNAME']}:{PLANTED['MLFLOW_TRACKING_PASSWORD']}"
        forms = {"basic auth": base64.b64encode(pair.encode())}
        for name, value in {**PLANTED, "the file .env": IN_FILE, "an address": IN_URL}.items():
            forms |= {name: value.encode(), f"{name}, quoted": quote(value, safe="").encode()}
        return [f"{what}: {name}" for what, content in self.left() for name, form in forms.items() if form in content]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, s3_server: S3) -> Iterator[Scene]:
    """Runs inline and on Ray, on S3 and in a folder, with MLflow in a database and away; then all that can be rendered."""
    scene = Scene(tmp_path_factory.mktemp("scene"), s3_server)
    scene.run("run", "words.py:words", "--store", scene.store, "--on", "inline")
    away = {"MLFLOW_TRACKING_URI": f"http://me:{IN_URL}@127.0.0.1:9"}
    scene.run("run", "words.py:words", "bug=true", "--on", "ray", code=1, **away)
    names = [word for name in PLANTED for word in ("--secret", name)]
    for form in ("kuberay", "skypilot", "dockerfile"):
        more = ["--gpu", "H100", "--workers", "1"] if form != "dockerfile" else []
        scene.run(
            "infra", "render", form, "words.py:words", "--store", scene.store, *more, *names, "-o", f"rendered-{form}"
        )
    for words in (
        ["plan", "words.py:words"],
        ["runs"],
        ["show"],
        ["lineage", "say", "--html"],
        ["doctor"],
    ):
        scene.run(*words, "--store", scene.store if words[0] != "show" else ".corpusmill")
    yield scene
    shutil.rmtree(scene.tmp)


@pytest.mark.slow
def test_no_secret_stands_in_anything_that_was_written_or_printed(scene: Scene) -> None:
    names = {what for what, _ in scene.left()}
    for part in EXPECTED:
        assert any(part in name for name in names), f"{part} was not looked at"
    assert scene.leaks() == []


@pytest.mark.slow
def test_a_secret_would_be_found(scene: Scene) -> None:
    place = scene.folder / "planted"
    place.write_bytes(b"\0" + base64.b64encode(b"planted-user-eight:planted-nine"))
    assert scene.leaks() == ["planted: basic auth"]
    place.unlink()


@pytest.mark.slow
def test_no_log_of_rays_held_one_while_a_stage_ran(scene: Scene) -> None:
    found = [content for what, content in scene.left() if what.endswith("found.txt")]
    assert len(found) >= 1 and set(found) == {b""}
    log = next(
        content for what, content in scene.left() if what.startswith(".corpusmill") and what.endswith("look.txt")
    )
    assert b"the network is down for [MODAL_TOKEN_SECRET]" in log, "the one on Ray looked too, before it failed"
    assert b"careless: [HF_TOKEN]" in log
    assert "down for [MODAL_TOKEN_SECRET]" in scene.printed[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    ["run words.py:words --on inline", "plan words.py:words", "runs", "infra render kuberay words.py:words"],
)
@pytest.mark.parametrize("address", [f"s3://me:{IN_URL}@bucket/mill", f"s3://bucket/mill?X-Amz-Signature={IN_URL}"])
def test_a_store_with_a_secret_in_its_address_is_refused_in_one_error(scene: Scene, words: str, address: str) -> None:
    said = scene.run(*words.split(), "--store", address, code=2)
    assert said.startswith("error: ") and "no user" in said and len(said.splitlines()) == 2
    assert IN_URL not in said


def test_a_password_in_a_setting_is_refused_when_the_dag_is_drawn() -> None:
    with pytest.raises(DagError, match=r"say\.words\.1 is an address with a password") as fault:
        Dag(Say(words=("a", f"https://me:{IN_URL}@host/x")))
    assert IN_URL not in str(fault.value)


def test_a_password_in_a_dial_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    from pipeline.loading import load

    (tmp_path / "own.py").write_text(
        "from pipeline import Dag\ndef own(*, at: str = '') -> Dag: ...\n", encoding="utf-8"
    )
    with pytest.raises(UsageError, match="the dial at is an address with a password") as fault:
        load(f"{tmp_path}/own.py:own", [f"at=postgresql://me:{IN_URL}@db/x"])
    assert IN_URL not in str(fault.value)


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ("https://me:word@host/x", True),
        (["a", {"b": ("sqlite+x://u:p@h",)}], True),
        ("https://me@host/x", False),
        ("s3://bucket/a:b@c", False),
        ("https://host:8080/a@b", False),
        ("a: b @ c", False),
        (None, False),
    ],
)
def test_an_address_with_a_password_is_known_from_one_without(value: object, holds: bool) -> None:
    assert holds_password(value) is holds


def test_the_value_of_a_secret_gives_way_to_its_name_and_nothing_else_does(tmp_path: Path) -> None:
    environ = {
        "HF_TOKEN": "hf_planted/1", "MY_KEY": 'quoted"planted', "TOKENIZERS_PARALLELISM": "falsehood", "DB_PASSWORD": "short",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path), "HF_TOKEN_2": "hf_planted/1-longer",
    }  # fmt: skip
    masked = masking(environ)
    assert (
        masked('a hf_planted/1 b hf_planted/1-longer {"x": "quoted\\"planted"}')
        == 'a [HF_TOKEN] b [HF_TOKEN_2] {"x": "[MY_KEY]"}'
    )
    assert masked(f"falsehood short {tmp_path}") == f"falsehood short {tmp_path}"
