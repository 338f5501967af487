"""Where a server listens: the address that is shown, and who is warned of."""

import pytest

from infra.address import reachable, warn_if_open


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("fe80::1", "[fe80::1]"), ("10.0.0.7", "10.0.0.7")]
)
def test_the_shown_address_is_one_that_this_machine_reaches(host: str, shown: str) -> None:
    assert reachable(host) == shown


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("127.0.0.2", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True),
     ("10.0.0.7", True), ("box.example", True), ("", True)],
)  # fmt: skip
def test_a_server_open_to_others_is_warned_of(host: str, warned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    warn_if_open(host, "the model")
    seen = capsys.readouterr()
    assert ("it asks for no password" in seen.err) == warned and seen.out == ""
