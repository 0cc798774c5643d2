"""The four kinds of patch, as far as drivers and kubelets use them.

JSON patches are applied by a library. Lists are merged by key where Kubernetes' own types say so, in strategic patches
and when something is applied; all other lists are replaced. Nobody owns a field here: an apply never conflicts.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import jsonpatch

from fakekubelet.apiserver import api_error

if TYPE_CHECKING:
    from collections.abc import Callable

JSON: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = ("application/apply-patch+yaml", "application/apply-patch+json")

_LIST_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "metadata.ownerReferences": ("uid",),
    "spec.containers": ("name",),
    "spec.initContainers": ("name",),
    "spec.resourceClaims": ("name",),
    "spec.volumes": ("name",),
    "status.conditions": ("type",),
    "status.addresses": ("type",),
    "status.reservedFor": ("uid",),
    "status.resourceClaimStatuses": ("name",),
}
"""Lists that are merged by the value of a key (`patchMergeKey` and `listMapKey` in the types)."""

_DEVICES: Final = ("driver", "pool", "device", "shareID")
_SETS: Final = frozenset({"metadata.finalizers"})


def apply(content_type: str, old: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Return *old* with a patch applied; ApiError 400, 415 or 422 for one that cannot be."""
    if content_type == JSON:
        return _json(old, patch)
    if not isinstance(patch, dict):
        raise api_error.bad_request("a patch must be an object")
    if content_type == MERGE:
        return _merged(old, patch, "", None)
    if content_type == STRATEGIC or content_type in APPLY:
        return _merged(old, patch, "", _merged_lists)
    text = "the body of the request was in an unknown format - accepted media types include: "
    raise api_error.ApiError(415, "UnsupportedMediaType", text + ", ".join((JSON, MERGE, STRATEGIC, *APPLY)))


def _json(old: dict[str, Any], patch: Any) -> dict[str, Any]:
    if not isinstance(patch, list):
        raise api_error.bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    try:
        new = jsonpatch.apply_patch(copy.deepcopy(old), patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise api_error.ApiError(422, "Invalid", f"the server rejected our request: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise api_error.bad_request(f"json: cannot unmarshal the patch: {error}") from error
    if not isinstance(new, dict):
        raise api_error.bad_request("the patch leaves no object")
    return new


def _merged(
    old: dict[str, Any],
    patch: dict[str, Any],
    path: str,
    merge_lists: Callable[[str, list[Any], list[Any]], list[Any]] | None,
) -> dict[str, Any]:
    new = dict(old)
    for key, value in patch.items():
        where = f"{path}.{key}" if path else key
        before = old.get(key)
        if merge_lists is not None and key.startswith("$"):
            continue  # directives other than that of an item, which `_merged_lists` reads
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict):
            new[key] = _merged(before if isinstance(before, dict) else {}, value, where, merge_lists)
        elif merge_lists is not None and isinstance(value, list) and isinstance(before, list):
            new[key] = merge_lists(where, before, value)
        else:
            new[key] = value
    return new


def _merged_lists(path: str, old: list[Any], new: list[Any]) -> list[Any]:
    if path in _SETS:
        return [*old, *(item for item in new if item not in old)]
    keys = _LIST_KEYS.get(path)
    if path == "status.devices" and all(isinstance(item, dict) and "driver" in item for item in new):
        keys = _DEVICES
    if keys is None or not all(isinstance(item, dict) for item in (*old, *new)):
        return new
    merged = {tuple(str(item.get(key)) for key in keys): item for item in old}
    for item in new:
        identity = tuple(str(item.get(key)) for key in keys)
        if item.get("$patch") == "delete":
            merged.pop(identity, None)
        else:
            merged[identity] = _merged(merged.get(identity, {}), item, path, _merged_lists)
    return list(merged.values())
