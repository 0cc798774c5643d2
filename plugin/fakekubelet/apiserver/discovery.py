"""What an API server says of itself: versions, groups and their resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fakekubelet.apiserver import kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

Object = dict[str, Any]
_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Discovery:
    """The documents, for the versions of each group that are served."""

    def __init__(self, release: str, versions: Mapping[str, tuple[str, ...]], *, taint_rules: bool) -> None:
        self._release = release
        self._versions = versions
        self._taint_rules = taint_rules

    def kinds_in(self, group: str, version: str) -> list[kinds.Kind]:
        """Return the kinds that a version of a group has; none if it is not served."""
        if version not in self._versions.get(group, ()):
            return []
        return [
            kind
            for kind in kinds.KINDS
            if kind.group == group
            and kinds.is_in(kind, version, self._release)
            and (kind.name != "DeviceTaintRule" or self._taint_rules)
        ]

    def document(self, path: str) -> Object | None:
        """Return the document at *path*; None if there is none."""
        parts = path.strip("/").split("/")
        if path == "/version":
            return self._version()
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if parts == ["apis"]:
            groups = [self._group(group) for group in self._versions if group]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if parts[0] == "api" and len(parts) == 2:
            return self._resources("", parts[1])
        if parts[0] == "apis" and len(parts) == 2 and self._versions.get(parts[1]):
            return {"kind": "APIGroup", "apiVersion": "v1", **self._group(parts[1])}
        if parts[0] == "apis" and len(parts) == 3:
            return self._resources(parts[1], parts[2])
        return None

    def _version(self) -> Object:
        major, _, minor = self._release.partition(".")
        return {
            "major": major,
            "minor": minor,
            "gitVersion": f"v{self._release}.0+fakehw",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "",
            "platform": "linux/amd64",
        }

    def _group(self, group: str) -> Object:
        versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in self._versions[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Object | None:
        found = self.kinds_in(group, version)
        if not found:
            return None
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": [entry for kind in found for entry in _entries(kind)],
        }


def _entries(kind: kinds.Kind) -> list[Object]:
    main: Object = {
        "name": kind.plural,
        "singularName": kind.name.lower(),
        "namespaced": kind.is_namespaced,
        "kind": kind.name,
        "verbs": list(_VERBS),
    }
    if kind.short_names:
        main["shortNames"] = list(kind.short_names)
    entries = [main]
    if kind.has_status:
        verbs = ["get", "patch", "update"]
        entries.append({**main, "name": f"{kind.plural}/status", "singularName": "", "verbs": verbs})
    if kind.name == "Pod":
        for name, of in (("binding", "Binding"), ("eviction", "Eviction")):
            entries.append(
                {"name": f"pods/{name}", "singularName": "", "namespaced": True, "kind": of, "verbs": ["create"]}
            )
    return entries
