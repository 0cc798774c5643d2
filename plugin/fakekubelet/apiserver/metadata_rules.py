"""What makes an object's metadata valid, in the real server's words and order.

Mirrors `apimachinery/pkg/api/validation/objectmeta.go` of 1.36, and what `pkg/apis/core/validation` adds about
finalizers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fakekubelet.apiserver import field_errors
from fakekubelet.apiserver.field_errors import all_wrong, forbidden, too_long, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Errors = Iterator[field_errors.FieldError]
    Object = Mapping[str, Any]

MAX_ANNOTATIONS: Final = 256 * 1024
"""Bytes of all keys and values together."""
_STANDARD_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def errors(metadata: Object, old: Object | None, name_rule: Callable[[str], Iterable[str]]) -> Errors:
    """Say what is wrong with the metadata of an object that is to be stored in the place of one with *old*."""
    if old is None:
        if metadata.get("name"):
            yield from all_wrong("metadata.name", metadata["name"], name_rule(metadata["name"]))
        else:
            yield field_errors.required("metadata.name", "name or generateName is required")
    for key, value in (metadata.get("labels") or {}).items():
        yield from all_wrong("metadata.labels", key, field_errors.qualified_name(key))
        yield from all_wrong("metadata.labels", value, field_errors.label_value(value))
    yield from _annotations(metadata.get("annotations") or {})
    yield from _owners(metadata.get("ownerReferences") or [])
    finalizers = metadata.get("finalizers") or []
    for name in finalizers:
        yield from all_wrong("metadata.finalizers", name, field_errors.qualified_name(name))
    for index, name in enumerate(finalizers):
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield wrong(f"metadata.finalizers[{index}]", name, text)
    if old is not None and "deletionTimestamp" in old:
        new = [name for name in finalizers if name not in (old.get("finalizers") or [])]
        if new:
            names = ", ".join(f'"{name}"' for name in new)
            rule = "no new finalizers can be added if the object is being deleted"
            text = f"{rule}, found new finalizers []string{{{names}}}"
            yield from 2 * [forbidden("metadata.finalizers", text)]  # it looks twice


def _annotations(annotations: Object) -> Errors:
    for key in annotations:
        yield from all_wrong("metadata.annotations", key, field_errors.qualified_name(key.lower()))
    if sum(field_errors.size(key) + field_errors.size(value) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        yield too_long("metadata.annotations", MAX_ANNOTATIONS)


def _owners(owners: list[Object]) -> Errors:
    controllers = []
    for owner in owners:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield wrong(f"metadata.ownerReferences.{field}", owner.get(field, ""), _EMPTY[field])
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind', '')}/{owner.get('name', '')}")
    if len(controllers) > 1:
        text = (
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{controllers[0]} and {controllers[1]}"
        )
        yield wrong("metadata.ownerReferences", owners, text)


_EMPTY: Final = {
    "apiVersion": "version must not be empty",
    "kind": "must not be empty",
    "name": "must not be empty",
    "uid": "must not be empty",
}
