"""What becomes of an object on its way into the store: its name, defaults, gates, rules, conflicts, generation.

Mirrors the strategies in `pkg/registry` and `apiserver/pkg/registry/rest`. HTTP is elsewhere: who lives in the same
process calls these functions, and is refused as a client is.
"""

from __future__ import annotations

import copy
import datetime
import random
import uuid
from typing import TYPE_CHECKING, Any, Final

from fakekubelet.apiserver import (
    api_error,
    claim_rules,
    conversion,
    field_errors,
    gates,
    kinds,
    metadata_rules,
    patches,
    pod_rules,
    schema,
    slice_rules,
    store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from fakekubelet.apiserver.kinds import Kind
    from fakekubelet.apiserver.store import Stored

Object = dict[str, Any]

_SERVERS: Final = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
"""Metadata that a client does not set."""
_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"
_NO_RESOURCE_VERSION: Final = "resourceVersion should not be set on objects to be created"
_MODIFIED: Final = "the object has been modified; please apply your changes to the latest version and try again"


class Registry:
    """The rules of one release of Kubernetes over one store."""

    def __init__(self, release: str = "1.36", *, feature_gates: Mapping[str, bool] | None = None) -> None:
        if release not in kinds.RELEASES:
            raise ValueError(f"no such release: {release}; there are {', '.join(kinds.RELEASES)}")
        self.release = release
        self.gates = gates.enabled(release, feature_gates or {})
        self.store = store.Store()
        self.warnings: list[str] = []
        """What the last write would have warned of."""
        self.now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
        self._rng = random.Random()  # noqa: S311 - names, not secrets

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, name: str, namespace: str = "") -> Stored:
        """Return an object; ApiError 404 if there is none."""
        stored = self.store.get(kind, (namespace if kind.is_namespaced else "", name))
        if stored is None:
            raise api_error.not_found(kind, name)
        return stored

    # -- writing ------------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, document: Object, namespace: str = "", *, dry_run: bool = False) -> Stored:
        """Store a new object; ApiError 400, 409 or 422 if it cannot be."""
        new = self._read(kind, document)
        metadata = new["metadata"]
        if metadata.pop("resourceVersion", ""):
            raise api_error.ApiError(500, "", _NO_RESOURCE_VERSION)
        self._place(kind, metadata, namespace)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"][:58] + "".join(self._rng.choices(_SUFFIX, k=5))
        for name in _SERVERS:
            metadata.pop(name, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._time()}
        if kind.counts_generations:
            metadata["generation"] = 1
        self._begin(kind, new)
        self._default(kind, new)
        self._drop_gated(kind, new, None)
        self._check(kind, new, None)
        key = (metadata.get("namespace", ""), metadata["name"])
        if self.store.get(kind, key) is not None:
            raise api_error.already_exists(kind, metadata["name"])
        if dry_run:
            return store.Stored(kind, new, self.store.revision)
        return self.store.put(kind, new)

    def update(
        self,
        kind: Kind,
        name: str,
        document: Object,
        namespace: str = "",
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> tuple[Stored, bool]:
        """Replace an object, or its status; return it, and whether it is new. ApiError 400, 404, 409 or 422."""
        new = self._read(kind, document)
        given = new["metadata"].get("name", "")
        if not given:
            text = f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            raise api_error.bad_request(text)
        if given != name:
            raise api_error.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        old = self.store.get(kind, (namespace if kind.is_namespaced else "", name))
        if old is None and kind.creates_on_update and not subresource:
            return self.create(kind, document, namespace, dry_run=dry_run), True
        if old is None:
            raise api_error.not_found(kind, name)
        return self._replace(kind, old, new, namespace, subresource, dry_run=dry_run), False

    def patch(
        self,
        kind: Kind,
        name: str,
        content_type: str,
        patch: Any,
        namespace: str = "",
        *,
        subresource: str = "",
        dry_run: bool = False,
        version: str = "v1",
    ) -> tuple[Stored, bool]:
        """Change an object as a *version* of its API shows it; an applied one that is not there is made."""
        old = self.store.get(kind, (namespace if kind.is_namespaced else "", name))
        if old is None:
            if content_type in patches.APPLY and isinstance(patch, dict) and not subresource:
                made = {**patch, "metadata": {**(patch.get("metadata") or {}), "name": name}}
                stored = conversion.to_stored(version, kind.name, made)
                return self.create(kind, stored, namespace, dry_run=dry_run), True
            raise api_error.not_found(kind, name)
        patched = patches.apply(content_type, old.shown(version), patch)
        new = self._read(kind, conversion.to_stored(version, kind.name, patched))
        return self._replace(kind, old, new, namespace, subresource, dry_run=dry_run), False

    def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        grace_s: float | None = None,
        preconditions: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> tuple[Stored, bool]:
        """Delete an object, or mark it if something must happen first; return it, and whether it is gone.

        A pod on a node stays until its kubelet deletes it with a grace of 0; an object with finalizers until they are
        gone. ApiError 404 or 409.
        """
        old = self.get(kind, name, namespace)
        metadata = old.document["metadata"]
        for field, shown in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            value = (preconditions or {}).get(field)
            if value is not None and value != metadata[field]:
                raise api_error.precondition(kind, name, shown, value, metadata[field])
        grace = self._grace_s(kind, old.document, grace_s)
        if dry_run:
            return old, False
        if not grace and not metadata.get("finalizers"):
            return self.store.remove(kind, old.key), True
        if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds", 0) <= grace:
            return old, False
        new = copy.deepcopy(old.document)
        end = self.now() + datetime.timedelta(seconds=grace)
        new["metadata"] |= {"deletionTimestamp": _written(end), "deletionGracePeriodSeconds": int(grace)}
        if kind.counts_generations:
            new["metadata"]["generation"] = metadata.get("generation", 0) + 1
        return self.store.put(kind, new), False

    def bind(self, namespace: str, name: str, node_name: str) -> Stored:
        """Give a pod its node, as the scheduler does."""
        kind = kinds.BY_PLURAL["", "pods"]
        old = self.get(kind, name, namespace)
        if old.document["spec"].get("nodeName"):
            text = f'pod {name} is already assigned to node "{old.document["spec"]["nodeName"]}"'
            raise api_error.conflict(kind, f"{name}/binding", text)
        new = copy.deepcopy(old.document)
        new["spec"]["nodeName"] = node_name
        conditions = [one for one in new["status"].get("conditions", []) if one.get("type") != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._time()}
        new["status"]["conditions"] = [*conditions, scheduled]
        return self.store.put(kind, new)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _read(self, kind: Kind, document: Object) -> Object:
        """Return a copy of a client's document with what its kind has."""
        fitted, self.warnings = schema.fit(kind.name, "v1", document)
        new = copy.deepcopy(fitted)
        new.pop("apiVersion", None)
        new.pop("kind", None)
        metadata = new.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise api_error.bad_request(f"{kind.name}: metadata must be an object")
        metadata.pop("managedFields", None)
        new["metadata"] = {key: value for key, value in metadata.items() if value not in (None, {}, [])}
        return new

    def _place(self, kind: Kind, metadata: Object, namespace: str) -> None:
        if not kind.is_namespaced:
            if metadata.get("namespace"):
                raise api_error.bad_request("namespace is not allowed on this type")
            return
        namespace = namespace or metadata.get("namespace", "") or "default"
        if metadata.setdefault("namespace", namespace) != namespace:
            raise api_error.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _replace(
        self, kind: Kind, old: Stored, new: Object, namespace: str, subresource: str, *, dry_run: bool
    ) -> Stored:
        metadata, before = new["metadata"], old.document["metadata"]
        name = before["name"]
        self._place(kind, metadata, namespace)
        wanted = metadata.pop("resourceVersion", "") or before["resourceVersion"]
        if metadata.get("uid") not in (None, "", before["uid"]):
            where = "/".join(("/registry", kind.plural, *filter(None, old.key)))
            text = (
                f"StorageError: invalid object, Code: 4, Key: {where}, ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {before['uid']}"
            )
            raise api_error.conflict(kind, name, text)
        if wanted != before["resourceVersion"]:
            raise api_error.conflict(kind, name, _MODIFIED)
        for key in _SERVERS:
            metadata.pop(key, None)
            if key in before:
                metadata[key] = before[key]
        if "generateName" in before:
            metadata.setdefault("generateName", before["generateName"])
        _keep(kind, old.document, new, subresource)
        metadata = new["metadata"]
        self._default(kind, new)
        self._drop_gated(kind, new, old.document)
        if kind.counts_generations and new.get("spec") != old.document.get("spec"):
            metadata["generation"] = before.get("generation", 0) + 1
        self._check(kind, new, old.document)
        metadata["resourceVersion"] = before["resourceVersion"]
        if new == old.document or dry_run:
            return old if not dry_run else store.Stored(kind, new, old.revision)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not self._grace_s(kind, new, None):
            self.store.put(kind, new)
            return self.store.remove(kind, old.key)
        return self.store.put(kind, new)

    def _begin(self, kind: Kind, new: Object) -> None:
        """Give a new object the status that it starts with."""
        if kind.name == "Pod":
            new["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
            spec = new.setdefault("spec", {})
            for key, value in (("restartPolicy", "Always"), ("terminationGracePeriodSeconds", 30)):
                spec.setdefault(key, value)
            spec.setdefault("schedulerName", "default-scheduler")
        elif kind.name == "Namespace":
            new["status"] = {"phase": "Active"}
            new["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = new["metadata"]["name"]
        elif kind.has_status and kind.name != "Node":
            new["status"] = {}

    def _default(self, kind: Kind, new: Object) -> None:
        spec = new.get("spec") or {}
        if kind.name == "ResourceSlice":
            for device in spec.get("devices") or []:
                for taint in device.get("taints") or []:
                    taint.setdefault("timeAdded", self._time())
                for capacity in (device.get("capacity") or {}).values():
                    capacity.setdefault("value", "0")
                for consumed in device.get("consumesCounters") or []:
                    _default_counters(consumed)
            for counter_set in spec.get("sharedCounters") or []:
                _default_counters(counter_set)
        elif kind.name == "DeviceTaintRule" and "taint" in spec:
            spec["taint"].setdefault("timeAdded", self._time())
        elif kind.name == "ResourceClaim":
            _default_requests(spec)
            status = new.get("status") or {}
            for result in ((status.get("allocation") or {}).get("devices") or {}).get("results") or []:
                _default_tolerations(result)
            for device in status.get("devices") or []:
                device.setdefault("conditions", None)
        elif kind.name == "ResourceClaimTemplate":
            spec.setdefault("metadata", {})
            _default_requests(spec.get("spec") or {})

    def _drop_gated(self, kind: Kind, new: Object, old: Object | None) -> None:
        if kind.name == "ResourceClaimTemplate":
            inside = (new.get("spec") or {}).setdefault("spec", {})
            old_inside = (old.get("spec") or {}).get("spec") if old is not None else None
            gates.drop("ResourceClaim", inside, old_inside, self.gates)
            return
        old_spec = old.get("spec") if old is not None else None
        gates.drop(kind.name, new.get("spec") or {}, old_spec, self.gates)
        if kind.name == "ResourceClaim" and "DRAResourceClaimDeviceStatus" not in self.gates:
            new.get("status", {}).pop("devices", None)

    def _check(self, kind: Kind, new: Object, old: Object | None) -> None:
        found = list(_errors(kind, new, old))
        if not self._allows_admin_access(new["metadata"].get("namespace", "")):
            found += _admin_access_errors(kind, new, old)
        if found:
            raise api_error.invalid(kind, new["metadata"].get("name", ""), found)

    def _allows_admin_access(self, namespace: str) -> bool:
        stored = self.store.get(kinds.BY_PLURAL["", "namespaces"], ("", namespace))
        labels = {} if stored is None else stored.document["metadata"].get("labels") or {}
        return bool(labels.get(claim_rules.ADMIN_ACCESS) == "true")

    def _grace_s(self, kind: Kind, document: Object, asked: float | None) -> float:
        if kind.name != "Pod" or not document["spec"].get("nodeName"):
            return 0
        if document["status"].get("phase") in ("Succeeded", "Failed"):
            return 0
        return document["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked

    def _time(self) -> str:
        return _written(self.now())


def _written(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _keep(kind: Kind, old: Object, new: Object, subresource: str) -> None:
    """Let a write of the status change nothing else, and a write of the rest not the status."""
    if subresource == "status":
        metadata = {key: value for key, value in old["metadata"].items() if key != "resourceVersion"}
        for key in list(new):
            if key not in ("metadata", "status"):
                del new[key]
        new |= {key: copy.deepcopy(value) for key, value in old.items() if key not in ("metadata", "status")}
        kept = {key: new["metadata"][key] for key in ("labels", "annotations") if key in new["metadata"]}
        resets = kind.group == kinds.RESOURCE_GROUP
        new["metadata"] = metadata if resets else {**metadata, **kept}
        new.setdefault("status", {})
    elif kind.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = copy.deepcopy(old["status"])


def _default_requests(spec: Object) -> None:
    if "devices" in spec:
        spec["devices"].setdefault("requests", None)  # Go has no `omitempty` there
    for request in (spec.get("devices") or {}).get("requests") or []:
        for one in (*([request["exactly"]] if "exactly" in request else []), *(request.get("firstAvailable") or [])):
            one.setdefault("allocationMode", "ExactCount")
            if one["allocationMode"] == "ExactCount":
                one.setdefault("count", 1)
            _default_tolerations(one)


def _default_tolerations(one: Object) -> None:
    for toleration in one.get("tolerations") or []:
        toleration.setdefault("operator", "Equal")


def _default_counters(counter_set: Object) -> None:
    for counter in (counter_set.get("counters") or {}).values():
        counter.setdefault("value", "0")


def _errors(kind: Kind, new: Object, old: Object | None) -> Iterator[field_errors.FieldError]:
    metadata, spec = new["metadata"], new.get("spec") or {}
    old_spec = None if old is None else old.get("spec") or {}
    name_rule = field_errors.dns_label if kind.name in ("Namespace",) else field_errors.dns_subdomain
    yield from metadata_rules.errors(metadata, None if old is None else old["metadata"], name_rule)
    if kind.name == "ResourceSlice":
        yield from slice_rules.errors(spec, old_spec)
    elif kind.name == "Pod" and old is None:
        yield from pod_rules.errors(spec)
    elif kind.name == "DeviceClass":
        yield from claim_rules.class_errors(spec)
    elif kind.name == "DeviceTaintRule":
        yield from claim_rules.taint_rule_errors(spec, old_spec)
    elif kind.name == "ResourceClaimTemplate":
        old_claim = None if old_spec is None else old_spec.get("spec") or {}
        yield from claim_rules.claim_errors(spec.get("spec") or {}, old_claim, "spec.spec")
    elif kind.name == "ResourceClaim":
        yield from claim_rules.claim_errors(spec, old_spec)
        if old is not None:
            status, old_status = new.get("status") or {}, old.get("status") or {}
            is_deleted = "deletionTimestamp" in metadata
            yield from claim_rules.status_errors(status, old_status, spec, is_deleted=is_deleted)


def _admin_access_errors(kind: Kind, new: Object, old: Object | None) -> Iterator[field_errors.FieldError]:
    spec = new.get("spec") or {}
    if kind.name == "ResourceClaim" and old is None:
        yield from claim_rules.admin_access_errors(spec)
    elif kind.name == "ResourceClaim":
        yield from claim_rules.admin_results_errors(new.get("status") or {}, (old or {}).get("status") or {})
    elif kind.name == "ResourceClaimTemplate" and old is None:
        yield from claim_rules.admin_access_errors(spec.get("spec") or {})
