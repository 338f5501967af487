"""`python -m bench NAME` runs one benchmark; without a name it lists them."""

import importlib
import os
import sys
from pathlib import Path

SHARED = ("__init__", "__main__", "harness")


def names() -> list[str]:
    """The benchmarks there are: every module here that has a `main`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in SHARED)


def main(words: list[str]) -> int:
    """Run the benchmark that is named; 0 where it held its goal, 1 where it did not, 2 where there is none of that name."""
    if len(words) != 1 or words[0] not in names():
        if words:
            print(f"error: no benchmark is called {' '.join(words)!r}", file=sys.stderr)
        for name in names():
            told = importlib.import_module(f"bench.{name}").__doc__ or ""
            print(f"make bench NAME={name:<10} {told.strip().splitlines()[0]}")
        return 2 if words else 0
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # whoever is measured compiles once, as for its users
    return 0 if importlib.import_module(f"bench.{words[0]}").main() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
