"""In place of Ray's two agents, where a private cluster of one machine needs neither: it says that nothing of theirs listens.

Ray's dashboard agent and runtime environment agent are a third of the CPU time of its start. The raylet wants a process of
each, and a file that names each of its ports, -1 being Ray's own word for a service that is not in use. Needs the standard
library alone, and ends when the raylet does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PORTS = {
    "dashboard/agent.py": ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port"),
    "runtime_env/agent/main.py": ("runtime_env_agent_port",),
}
UNUSED = "-1"
LOOK_SECONDS = 0.5


def stand_in(words: Sequence[str]) -> None:
    """Do what the agent whose script and options are `words` must do for the raylet to live; return when that has ended."""
    raylet = os.getppid()
    options = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
    folder, owner = Path(options["session-dir"]), options["node-id"]
    for name in next(ports for script, ports in PORTS.items() if words[0].endswith(script)):
        partial = folder / f"{name}_{owner}.partial"
        partial.write_text(UNUSED)
        os.replace(partial, folder / f"{name}_{owner}")
    while os.getppid() == raylet:
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    stand_in(sys.argv[1:])
