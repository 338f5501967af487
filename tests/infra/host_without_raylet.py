"""Ray's host, with a raylet that dies at once, as one does whose machine has no memory left for it."""

import shutil

from ray._private import services

from infra.ray_host import main

if __name__ == "__main__":
    services.RAYLET_EXECUTABLE = str(shutil.which("false"))
    main()
