"""What a device class is offered as: a resource by the device plugin API, or the same by a DRA driver. Pure.

One API serves a class on a host, never both: a device would be handed out twice (KEP-5004; contract DRA-ER-3).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fakehw_plugin.resource_name import ResourceName


class Api(StrEnum):
    """The two ways in which Kubernetes takes devices; the values are those of the file `api`."""

    DEVICE_PLUGIN = "device-plugin"
    DRA = "dra"


class Offer(str):
    """A resource by one of the APIs. Its text is the resource's name, and for DRA the driver's after it."""

    __slots__ = ("driver", "resource")

    resource: ResourceName
    driver: str
    """Of DRA; empty for the device plugin API."""

    def __new__(cls, resource: ResourceName, driver: str = "") -> Offer:
        """Return the offer of `resource`, by DRA if there is a driver."""
        offer = super().__new__(cls, f"{resource} by {driver}" if driver else resource)
        offer.resource, offer.driver = resource, driver
        return offer

    @property
    def api(self) -> Api:
        """Return the API that serves it."""
        return Api.DRA if self.driver else Api.DEVICE_PLUGIN
