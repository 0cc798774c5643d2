"""What a container runs, as far as its pod says so. Pure.

Images are not here, nor are ConfigMaps and Secrets: a variable that comes from there is left out, and said.
"""

from __future__ import annotations

import re
from typing import Any, Final

Object = dict[str, Any]

KEPT: Final = ("command", "args", "env", "left_out")
"""The fields of a kept container that this module writes."""
_MAP_FIELD: Final = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")
_FIELDS: Final = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "metadata.uid": ("metadata", "uid"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
}


def kept(container: Object, pod: Object) -> Object:
    """Return a container's command, its variables, and the names of those that are left out."""
    env, left_out = [], ["envFrom"] if container.get("envFrom") else []
    for variable in container.get("env") or []:
        value = _value(variable, pod)
        if value is None:
            left_out.append(variable["name"])
        else:
            env.append([variable["name"], value])
    return {
        "command": list(container.get("command") or []),
        "args": list(container.get("args") or []),
        "env": env,
        "left_out": left_out,
    }


def remarks(container: Object) -> list[tuple[str, str]]:
    """Return what is different for a kept container from what its pod asks for: reasons and messages of events."""
    name = container["name"]
    if not container["command"]:
        return [("NoProcess", f"container {name} has no command, and images are not run: it runs without a process")]
    if container["left_out"]:
        names = ", ".join(container["left_out"])
        return [("VariablesLeftOut", f"container {name}: left out, for what they come from is not here: {names}")]
    return []


def _value(variable: Object, pod: Object) -> str | None:
    """Return a variable's value; None: it is not to be known here."""
    source = variable.get("valueFrom")
    if source is None:
        return str(variable.get("value") or "")
    path = (source.get("fieldRef") or {}).get("fieldPath", "")
    if found := _MAP_FIELD.fullmatch(path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in _FIELDS:
        part, key = _FIELDS[path]
        return str((pod.get(part) or {}).get(key, ""))
    return None
