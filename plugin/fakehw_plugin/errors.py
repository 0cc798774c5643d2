"""Everything that this package raises on purpose.

PluginError
├── ConfigError          a flag or its environment twin: one line, exit 2
├── EndpointError        our socket could not be served: logged, tried again
├── RegistrationError    the kubelet refused or did not answer: logged, tried again
├── RequestError         bytes that are no request of the kubelet's: a gRPC status to whoever sent them
└── AllocationError      what the kubelet asks for cannot be given: a gRPC status to the kubelet
    ├── UnknownDeviceError     no such device in this resource
    └── UnhealthyDeviceError   the device is there and not healthy
"""

from __future__ import annotations


class PluginError(Exception):
    """Base of all errors of this package."""


class ConfigError(PluginError):
    """A configuration value breaks its rule; the text names value, rule and flag."""

    def __init__(self, value: object, rule: str, flag: str) -> None:
        super().__init__(f"{value!r}: {rule} ({flag})")


class UsageError(ConfigError):
    """The command line cannot be understood; the text says what, and what may have been meant."""

    def __init__(self, text: str) -> None:
        PluginError.__init__(self, text)


class EndpointError(PluginError):
    """The plugin's own socket could not be bound or served."""


class RegistrationError(PluginError):
    """The kubelet did not take the registration."""


class RequestError(PluginError):
    """Bytes that are not the `message` that a call takes; `error` says how that showed."""

    def __init__(self, message: str, error: str) -> None:
        super().__init__(f"not a {message}: {error}")
        self.message = message
        self.error = error


class AllocationError(PluginError):
    """The kubelet asked for devices that cannot be given."""


class UnknownDeviceError(AllocationError):
    """A device ID that this resource does not have."""


class UnhealthyDeviceError(AllocationError):
    """A device that is not healthy."""
