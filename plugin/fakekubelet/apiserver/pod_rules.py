"""What makes the claims of a pod valid, in the real server's words; of a pod's other fields nothing is looked at.

Mirrors `validatePodResourceClaims` and `validateContainerResourceClaims` in `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakekubelet.apiserver import field_errors
from fakekubelet.apiserver.field_errors import FieldError, all_wrong, duplicate, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Errors = Iterator[FieldError]
    Object = Mapping[str, Any]


def errors(spec: Object) -> Errors:
    """Say what is wrong with the claims of a pod's `spec` and of its containers."""
    names: list[str] = []
    for index, claim in enumerate(spec.get("resourceClaims") or []):
        path = f"spec.resourceClaims[{index}]"
        name = claim.get("name", "")
        if name in names:
            yield duplicate(f"{path}.name", name)
            continue
        if not name:
            yield field_errors.required(f"{path}.name")
        else:
            yield from all_wrong(f"{path}.name", name, field_errors.dns_label(name))
        names.append(name)
        yield from _source(claim, path)
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            claims = (container.get("resources") or {}).get("claims") or []
            yield from _used(claims, names, f"spec.{group}[{index}].resources.claims")


def _source(claim: Object, path: str) -> Errors:
    given = [field for field in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(field) is not None]
    if len(given) != 1:
        text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified" if given else (
            "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        )  # fmt: skip
        yield wrong(path, dict(claim), text)
    for field in given:
        yield from all_wrong(f"{path}.{field}", claim[field], field_errors.dns_subdomain(claim[field]))


def _used(claims: list[Object], names: list[str], path: str) -> Errors:
    seen: list[str] = []
    for index, claim in enumerate(claims):
        name = claim.get("name", "")
        whole = name if not claim.get("request") else f"{name}/{claim['request']}"
        if not name:
            yield field_errors.required(f"{path}[{index}]")
            continue
        if whole in seen:
            yield duplicate(f"{path}[{index}]", whole)
        seen.append(whole)
        if name not in names:
            text = "must be one of the names in pod.spec.resourceClaims"
            known = f": {', '.join(names)}" if names else " which is empty"
            yield FieldError(field_errors.ErrorType.NOT_FOUND, f"{path}[{index}]", name, text + known)
