"""The kinds that are stored, and which versions of their API a release of Kubernetes serves."""

from __future__ import annotations

import dataclasses
from typing import Final

RESOURCE_GROUP: Final = "resource.k8s.io"


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    plural: str
    group: str = ""
    is_namespaced: bool = False
    has_status: bool = False
    counts_generations: bool = False
    """Whether `metadata.generation` counts the changes of `spec`."""
    creates_on_update: bool = False
    """Whether a PUT to a name that is not there makes the object."""
    short_names: tuple[str, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    """Field selectors beside `metadata.name` and `metadata.namespace`."""

    @property
    def resource(self) -> str:
        """Return the resource as errors name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KINDS: Final = (
    Kind("Namespace", "namespaces", has_status=True, short_names=("ns",)),
    Kind("Node", "nodes", has_status=True, short_names=("no",), selectable_fields=("spec.unschedulable",)),
    Kind(
        "Pod", "pods", is_namespaced=True, has_status=True, counts_generations=True, short_names=("po",),
        selectable_fields=("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "status.phase"),
    ),
    Kind(
        "Event", "events", is_namespaced=True, creates_on_update=True, short_names=("ev",),
        selectable_fields=("involvedObject.kind", "involvedObject.name", "involvedObject.namespace",
                           "involvedObject.uid", "reason", "type"),
    ),
    Kind("ConfigMap", "configmaps", is_namespaced=True, short_names=("cm",)),
    Kind("Secret", "secrets", is_namespaced=True, selectable_fields=("type",)),
    Kind("ServiceAccount", "serviceaccounts", is_namespaced=True, short_names=("sa",)),
    Kind("Event", "events", "events.k8s.io", is_namespaced=True, creates_on_update=True, short_names=("ev",)),
    Kind("Lease", "leases", "coordination.k8s.io", is_namespaced=True, creates_on_update=True),
    Kind("DaemonSet", "daemonsets", "apps", is_namespaced=True, has_status=True, counts_generations=True,
         short_names=("ds",)),
    Kind("Deployment", "deployments", "apps", is_namespaced=True, has_status=True, counts_generations=True,
         short_names=("deploy",)),
    Kind("DeviceClass", "deviceclasses", RESOURCE_GROUP, counts_generations=True),
    Kind("DeviceTaintRule", "devicetaintrules", RESOURCE_GROUP, has_status=True, counts_generations=True),
    Kind("ResourceClaim", "resourceclaims", RESOURCE_GROUP, is_namespaced=True, has_status=True),
    Kind("ResourceClaimTemplate", "resourceclaimtemplates", RESOURCE_GROUP, is_namespaced=True),
    Kind("ResourceSlice", "resourceslices", RESOURCE_GROUP, counts_generations=True,
         selectable_fields=("spec.driver", "spec.nodeName")),
)  # fmt: skip  # a table

BY_PLURAL: Final = {(kind.group, kind.plural): kind for kind in KINDS}
BY_NAME: Final = {(kind.group, kind.name): kind for kind in KINDS}


def of_plural(plural: str) -> Kind:
    """Return the kind with that plural, the oldest group's if there are two; KeyError if there is none."""
    return next((kind for kind in KINDS if kind.plural == plural), None) or BY_PLURAL["", plural]


RELEASES: Final = ("1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
"""What can be emulated."""


def resource_versions(release: str, *, more: bool = False, taint_rules: bool = False) -> tuple[str, ...]:
    """Return the versions of resource.k8s.io that a release serves, the preferred one first (contract DRA 1.1).

    Before 1.34 DRA has to be switched on by hand, which is taken for done. With *more* the older versions are served
    too, as with `--runtime-config`; with *taint_rules* that which has DeviceTaintRule.
    """
    minor = int(release.partition(".")[2])
    known = [version for version, since in (("v1", 34), ("v1beta2", 33), ("v1beta1", 32)) if minor >= since]
    served = known if more or minor < 34 else ["v1"]
    with_rules = taint_rule_version(release)
    return tuple(served) if not taint_rules or with_rules in served else (*served, with_rules)


def group_versions(release: str, *, more: bool = False, taint_rules: bool = False) -> dict[str, tuple[str, ...]]:
    """Return group → served versions; see `resource_versions`."""
    groups = dict.fromkeys(sorted({kind.group for kind in KINDS}), ("v1",))
    return {**groups, RESOURCE_GROUP: resource_versions(release, more=more, taint_rules=taint_rules)}


def taint_rule_version(release: str) -> str:
    """Return the version of resource.k8s.io in which a release has DeviceTaintRule (contract DRA-TAINT-4)."""
    minor = int(release.partition(".")[2])
    return "v1" if minor >= 37 else "v1beta2" if minor == 36 else "v1alpha3"


def is_in(kind: Kind, version: str, release: str) -> bool:
    """Tell whether a served *version* of a kind's group has the kind."""
    rules = taint_rule_version(release)
    if kind.name == "DeviceTaintRule":
        return version == rules
    return version != "v1alpha3"
