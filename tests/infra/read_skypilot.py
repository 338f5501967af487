"""Run as a process of its own, with SkyPilot's folder first on the path: reads tasks with SkyPilot's parser, tells them as JSON."""

import json
import sys

import yaml


def main() -> None:
    """The tasks are YAML texts in a JSON list on standard input; each comes back as what SkyPilot made of it, or its error."""
    from sky.task import Task

    print(json.dumps([_read(Task, text) for text in json.load(sys.stdin)], default=str))


def _read(kind, text):
    config = yaml.safe_load(text)
    try:
        task = kind.from_yaml_config(config, secrets_overrides=[(name, "filled") for name in config.get("secrets", ())])
    except ValueError as fault:
        return {"error": str(fault)}
    return {
        "nodes": task.num_nodes, "run": task.run, "setup": task.setup, "mounts": task.file_mounts, "envs": task.envs,
        "secrets": list(task.secrets),
        "resources": [
            {
                "cloud": str(one.cloud), "region": one.region, "gpus": one.accelerators, "spot": one.use_spot, "cpus": one.cpus,
                "down": one.autostop_config.down,
            }
            for one in task.resources
        ],
    }  # fmt: skip


if __name__ == "__main__":
    main()
