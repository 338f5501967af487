"""Where the files lie that a module's texts name: beside it, in the packages it names, and above it where it looks up."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pipeline.code_files import Files
from pipeline.code_modules import Module, Modules


def named_files(module: Module, text: str, modules: Modules, files: Files) -> Iterator[str]:
    """The files that `text` names, those in a folder of that name included, wherever the module may look for them."""
    own, *others = _places(module, modules)
    for place in (own, *others):
        path = os.path.join(place, *text.split("/"))
        if files.is_file(path):
            yield path
        elif module.scan["reads"] and files.is_folder(path) and (place == own or place != module.base.folder):
            yield from _inside(path, files)


def neighbours(module: Module, files: Files) -> Iterator[str]:
    """The other Python files in the folder of a module, all of which a computed name may mean."""
    folder = os.path.dirname(module.path)
    files.stamp(folder + "/")
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith(".py") and path != module.path and files.is_file(path):
            yield path


def _places(module: Module, modules: Modules) -> list[str]:
    """The folders from which a module may open files, its own first."""
    own = os.path.dirname(module.path)
    if not module.scan["reads"]:
        return [own]
    texts = {text for unit in module.scan["units"].values() for text in unit["strings"]}
    packages = [tuple(text.split(".")) for text in sorted(texts) if "." in text or text == module.parts[0]]
    places = [own, *(folder for package in packages if all(package) for folder in modules.folders(package))]
    folder = own
    while module.scan["above"] and len(folder) > len(module.base.folder):
        folder = os.path.dirname(folder)
        places.append(folder)
    return list(dict.fromkeys(places))


def _inside(folder: str, files: Files) -> Iterator[str]:
    files.stamp(folder + "/")
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.startswith((".", "__")):
            continue
        if files.is_folder(path):
            yield from _inside(path, files)
        elif not name.endswith((".py", ".pyc")) and files.is_file(path):
            yield path
