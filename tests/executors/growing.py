"""Ray's own autoscaler with its fake provider: the machines that it starts are further raylets beside the head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml
from ray.autoscaler import local

FAKE_HEAD = "f" * 51 + "00000"
"""The id that the head must have for the provider."""
FAKED = {
    "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD, "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}  # fmt: skip
"""The environment of the head."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
"""By its path: what Ray needs to start it by its own name is no part of Ray's wheel."""
IDLE_MINUTES = 0.1


def grows(kinds: Mapping[str, Mapping[str, float]], folder: Path, gcs: str) -> str:
    """The option of `ray start` that has a head without cores start machines of these kinds as they are asked for, at most one of each.

    `folder` takes the configuration; `gcs` is the address that the head will have.
    """
    types = {
        name: {
            "resources": {"object_store_memory": 80_000_000, **has},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        }
        for name, has in kinds.items()
    }
    head = {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    config = {
        **yaml.safe_load((Path(local.__file__).parent / "defaults.yaml").read_text()),
        "cluster_name": "fake", "max_workers": len(kinds), "idle_timeout_minutes": IDLE_MINUTES,
        "provider": {
            "type": "external", "module": PROVIDER, "launch_multiple": True, "disable_node_updaters": True,
            "head_node_id": FAKE_HEAD, "gcs_address": gcs,
        },
        "head_node_type": "ray.head.default", "available_node_types": {**head, **types},
    }  # fmt: skip
    place = folder / "autoscaling.json"
    place.write_text(json.dumps(config))
    return f"--autoscaling-config={place}"
