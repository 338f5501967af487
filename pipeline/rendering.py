"""Files that are written from the records into the data of an artifact (`Artifact.rendered`): the model card.

They are no content, so that they may tell of cost and of scores that came later. One that cannot be written is a warning, and
never fails a stage; it is written by the next run that drives one, or by `corpusmill card`.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.card import card
from pipeline.errors import StoreError
from pipeline.files import LocalFiles
from pipeline.manifest import Manifest
from pipeline.store import Store, place_of


def lay(store: Store, made: Manifest, text: str) -> None:
    """Put `text` into every rendered file of an artifact, there and in the copy on this machine, each in one act."""
    place = f"{place_of(made)}/data"
    for name in made.rendered:
        store.files.lay(place, name, text.encode())
        if store.files.remote and (store.local / place).is_dir():
            LocalFiles(store.local).lay(place, name, text.encode())


def render(store: Store, made: Manifest) -> str:
    """Write the rendered files of an artifact, if its kind has any; why that could not be, or nothing."""
    try:
        if made.rendered:
            lay(store, made, card(store, made))
    except Exception as fault:  # a card never fails a stage
        first = (str(fault).strip() or repr(fault)).splitlines()[0]
        return f"the card of {made.label} could not be written: {first}"
    return ""


def refresh(store: Store, made: Iterable[Manifest]) -> list[str]:
    """Write again the cards that are missing, or do not name a Report that is among `made`; what could not be."""
    manifests = list(made)
    said = []
    for model in [one for one in manifests if one.rendered]:
        on = [one for one in manifests if any(given.digest == model.digest for given in one.inputs.values())]
        told = [one.digest[:12] for one in on if one.kind == "Report"]
        try:
            said += [render(store, model)] if _stale(store, model, told) else []
        except StoreError as fault:
            said.append(f"the card of {model.label} could not be read: {fault.message}")
    return [line for line in said if line]


def _stale(store: Store, model: Manifest, told: list[str]) -> bool:
    for name in model.rendered:
        try:
            text = store.files.read(f"{place_of(model)}/data/{name}").decode(errors="replace")
        except FileNotFoundError:
            return not store.is_dropped(model)
        if any(digest not in text for digest in told):
            return True
    return False
