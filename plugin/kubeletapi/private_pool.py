"""The descriptor pool that the messages of this package live in, apart from everybody else's.

protobuf keeps one pool for a whole process, and refuses a second definition of a name in it. The kubelet's API is
public, so a project may well have stubs of its own of the same `v1beta1.RegisterRequest`; in the shared pool whichever
came second could not be imported. The generated modules (hack/update-proto.sh) build their classes here instead, and
enter nothing into the shared pool or its symbol database: with the pure Python implementation of protobuf the database
is what refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pool, message, reflection
from google.protobuf.internal import builder, enum_type_wrapper

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FileDescriptor

POOL: Final = descriptor_pool.DescriptorPool()


def build(file: FileDescriptor, module_name: str, module: dict[str, Any]) -> None:
    """Put the descriptors, enumerations and message classes of *file* into *module*, as protobuf's own builder does."""
    builder.BuildMessageAndEnumDescriptors(file, module)
    for name, enum in file.enum_types_by_name.items():
        module["_" + name.upper()] = enum
        module[name] = enum_type_wrapper.EnumTypeWrapper(enum)
        module.update((value.name, value.number) for value in enum.values)
    for name, service in file.services_by_name.items():
        module["_" + name.upper()] = service
    for name, descriptor in file.message_types_by_name.items():
        module[name] = _message_class(descriptor, module_name, name)


def _message_class(descriptor: Descriptor, module_name: str, qualified_name: str) -> Any:
    content: dict[str, Any] = {
        name: _message_class(nested, module_name, f"{qualified_name}.{name}")
        for name, nested in descriptor.nested_types_by_name.items()
    }
    content |= {"DESCRIPTOR": descriptor, "__module__": module_name, "__qualname__": qualified_name}
    return reflection.GeneratedProtocolMessageType(descriptor.name, (message.Message,), content)
