"""What was made elsewhere is read with bounds: no link out of its folder, no redirect out of its scheme, nothing too large."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline import SourceError, UsageError
from pipeline.elsewhere import _https, kept, look, pour

BODY = b"weights" * 1000


class Answers(BaseHTTPRequestHandler):
    """A file, redirects that stay, lead out or never end, and a body that is cut short."""

    def do_GET(self) -> None:
        where = {"/once": "/model.gguf", "/out": "ftp://elsewhere/model.gguf", "/round": "/round2", "/round2": "/round"}
        if self.path in where:
            self.send_response(302)
            self.send_header("Location", where[self.path])
            self.end_headers()
        elif self.path == "/model.gguf" or self.path == "/short.gguf":
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY) + (self.path == "/short.gguf")))
            self.end_headers()
            self.wfile.write(BODY)
        else:
            self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as answering:
        thread = threading.Thread(target=answering.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{answering.server_port}"
        answering.shutdown()
        thread.join()


def fetched(address: str, target: Path, room: int = 1 << 20) -> bytes:
    (file,) = _https(address, scheme="http").files
    pour(file, target, room)
    return target.read_bytes()


def test_one_file_is_fetched_through_a_redirect_that_stays_in_its_scheme(server: str, tmp_path: Path) -> None:
    assert fetched(f"{server}/model.gguf", tmp_path / "a") == fetched(f"{server}/once", tmp_path / "b") == BODY


def test_a_redirect_out_of_the_scheme_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="leads to ftp://elsewhere/model.gguf, out of http"):
        fetched(f"{server}/out", tmp_path / "a")


@pytest.mark.parametrize(("path", "said"), [("/round", "infinite loop"), ("/nothing", "404")])
def test_redirects_without_end_and_what_is_not_there_are_one_clear_error(
    server: str, tmp_path: Path, path: str, said: str
) -> None:
    with pytest.raises(SourceError, match=f"cannot be read: .*{said}"):
        fetched(f"{server}{path}", tmp_path / "a")


def test_a_body_that_ends_too_early_is_no_file(server: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"short\.gguf (ended too early|cannot be read)"):
        fetched(f"{server}/short.gguf", tmp_path / "a")


def test_no_more_is_read_than_there_is_room_for(server: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="larger than there is room for"):
        fetched(f"{server}/model.gguf", tmp_path / "a", room=len(BODY) - 1)
    (tmp_path / "b").write_bytes(BODY)
    with pytest.raises(SourceError, match="larger than there is room for"):
        pour(look(str(tmp_path / "b")).files[0], tmp_path / "c", len(BODY) - 1)


@pytest.mark.parametrize("address", ["http://host/model.gguf", "simplecache::http://host/models"])
def test_plain_http_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="anybody on the way can change it|can change what comes over http"):
        look(address)


def test_what_is_kept_of_an_address_holds_no_secret() -> None:
    assert kept("https://me:secret@host:8000/a/model.gguf?token=secret#top") == "https://host:8000/a/model.gguf"
    assert kept("s3://key:secret@bucket/folder") == "s3://bucket/folder"


def test_a_link_that_stays_in_its_folder_is_followed_and_one_that_leads_out_is_not(tmp_path: Path) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "weights").write_bytes(BODY)
    (folder / "inner").symlink_to("weights")
    (folder / "outer").symlink_to(secret)
    files = {file.name: file for file in look(str(folder)).files}
    pour(files["inner"], tmp_path / "a", 1 << 20)
    assert (tmp_path / "a").read_bytes() == BODY
    with pytest.raises(SourceError, match="outer is a link that leads out of its folder"):
        pour(files["outer"], tmp_path / "b", 1 << 20)
    assert not (tmp_path / "b").read_bytes()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    with pytest.raises(SourceError, match="no regular file"):
        pour(look(str(tmp_path)).files[0], tmp_path / "a", 1 << 20)


def test_a_folder_at_an_fsspec_url_is_read_and_its_folders_are_named(tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe({"/elsewhere/model.gguf": BODY, "/elsewhere/onnx/model.onnx": b"x"})
    try:
        found = look("memory://elsewhere")
        assert [file.name for file in found.files] == ["model.gguf"] and found.folders == ("onnx",)
        assert pour(found.files[0], tmp_path / "a", 1 << 20) == len(BODY)
        assert found.address == "memory://elsewhere"
    finally:
        fs.rm("/elsewhere", recursive=True)


@pytest.mark.parametrize(
    ("address", "mend"), [("nothere", "see that it is there"), ("unheard://of", "see that it is there")]
)
def test_what_is_not_there_is_one_clear_error(address: str, mend: str) -> None:
    with pytest.raises(SourceError, match=f"{address} cannot be read: .*\n.*{mend}"):
        look(address)
