"""Bodies in protobuf, which Go programs send unless they are told otherwise: client-go prefers it for the kinds that
Kubernetes has, and does not turn to JSON when it is refused. Answers are JSON, which it accepts.

The numbers are those of `generated.proto` in `k8s.io/api` and `k8s.io/apimachinery` of 1.36; the envelope is that of
`apimachinery/pkg/runtime/serializer/protobuf`. Kinds that drivers write are read, and no others.
"""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"
_DEEPEST: Final = 32

_TABLE: Final = """
ResourceSlice: metadata=1:ObjectMeta spec=2:ResourceSliceSpec
ResourceClaim: metadata=1:ObjectMeta spec=2:ResourceClaimSpec status=3:ResourceClaimStatus
ResourceClaimTemplate: metadata=1:ObjectMeta spec=2:ResourceClaimTemplateSpec
DeviceClass: metadata=1:ObjectMeta spec=2:DeviceClassSpec
DeviceTaintRule: metadata=1:ObjectMeta spec=2:DeviceTaintRuleSpec status=3:DeviceTaintRuleStatus
Lease: metadata=1:ObjectMeta spec=2:LeaseSpec
ConfigMap: metadata=1:ObjectMeta data=2%:string immutable=4:bool
Binding: metadata=1:ObjectMeta target=2:ObjectReference
DeleteOptions: gracePeriodSeconds=1:int preconditions=2:Preconditions propagationPolicy=4:string dryRun=5*:string
Preconditions: uid=1:string resourceVersion=2:string
Event: metadata=1:ObjectMeta involvedObject=2:ObjectReference reason=3:string message=4:string source=5:EventSource
 firstTimestamp=6:Time lastTimestamp=7:Time count=8:int type=9:string eventTime=10:Time series=11:EventSeries
 action=12:string related=13:ObjectReference reportingComponent=14:string reportingInstance=15:string
EventSource: component=1:string host=2:string
EventSeries: count=1:int lastObservedTime=2:Time
ObjectReference: kind=1:string namespace=2:string name=3:string uid=4:string apiVersion=5:string
 resourceVersion=6:string fieldPath=7:string
ObjectMeta: name=1:string generateName=2:string namespace=3:string uid=5:string resourceVersion=6:string
 generation=7:int creationTimestamp=8:Time deletionTimestamp=9:Time deletionGracePeriodSeconds=10:int
 labels=11%:string annotations=12%:string ownerReferences=13*:OwnerReference finalizers=14*:string
OwnerReference: kind=1:string name=3:string uid=4:string apiVersion=5:string controller=6:bool
 blockOwnerDeletion=7:bool
LeaseSpec: holderIdentity=1:string leaseDurationSeconds=2:int acquireTime=3:Time renewTime=4:Time leaseTransitions=5:int
ResourceSliceSpec: driver=1:string pool=2:ResourcePool nodeName=3:string nodeSelector=4:NodeSelector allNodes=5:bool
 devices=6*:Device perDeviceNodeSelection=7:bool sharedCounters=8*:CounterSet
ResourcePool: name=1:string generation=2:int resourceSliceCount=3:int
NodeSelector: nodeSelectorTerms=1*:NodeSelectorTerm
NodeSelectorTerm: matchExpressions=1*:NodeSelectorRequirement matchFields=2*:NodeSelectorRequirement
NodeSelectorRequirement: key=1:string operator=2:string values=3*:string
Device: name=1:string attributes=2%:DeviceAttribute capacity=3%:DeviceCapacity
 consumesCounters=4*:DeviceCounterConsumption nodeName=5:string nodeSelector=6:NodeSelector allNodes=7:bool
 taints=8*:DeviceTaint bindsToNode=9:bool bindingConditions=10*:string bindingFailureConditions=11*:string
 allowMultipleAllocations=12:bool nodeAllocatableResourceMappings=13%:NodeAllocatableResourceMapping
BasicDevice: attributes=1%:DeviceAttribute capacity=2%:DeviceCapacity consumesCounters=3*:DeviceCounterConsumption
 nodeName=4:string nodeSelector=5:NodeSelector allNodes=6:bool taints=7*:DeviceTaint bindsToNode=8:bool
 bindingConditions=9*:string bindingFailureConditions=10*:string allowMultipleAllocations=11:bool
 nodeAllocatableResourceMappings=12%:NodeAllocatableResourceMapping
DeviceAttribute: int=2:int bool=3:bool string=4:string version=5:string ints=6*:int bools=7*:bool strings=8*:string
 versions=9*:string
DeviceCapacity: value=1:Quantity requestPolicy=2:CapacityRequestPolicy
CapacityRequestPolicy: default=1:Quantity validValues=3*:Quantity validRange=4:CapacityRequestPolicyRange
CapacityRequestPolicyRange: min=1:Quantity max=2:Quantity step=3:Quantity
DeviceCounterConsumption: counterSet=1:string counters=2%:Counter
CounterSet: name=1:string counters=2%:Counter
Counter: value=1:Quantity
DeviceTaint: key=1:string value=2:string effect=3:string timeAdded=4:Time
NodeAllocatableResourceMapping: capacityKey=1:string allocationMultiplier=2:Quantity
ResourceClaimTemplateSpec: metadata=1:ObjectMeta spec=2:ResourceClaimSpec
ResourceClaimSpec: devices=1:DeviceClaim
DeviceClaim: requests=1*:DeviceRequest constraints=2*:DeviceConstraint config=3*:DeviceClaimConfiguration
DeviceRequest: name=1:string exactly=2:ExactDeviceRequest firstAvailable=3*:DeviceSubRequest
ExactDeviceRequest: deviceClassName=1:string selectors=2*:DeviceSelector allocationMode=3:string count=4:int
 adminAccess=5:bool tolerations=6*:DeviceToleration capacity=7:CapacityRequirements
DeviceSubRequest: name=1:string deviceClassName=2:string selectors=3*:DeviceSelector allocationMode=4:string
 count=5:int tolerations=6*:DeviceToleration capacity=7:CapacityRequirements
DeviceSelector: cel=1:CELDeviceSelector
CELDeviceSelector: expression=1:string
DeviceToleration: key=1:string operator=2:string value=3:string effect=4:string tolerationSeconds=5:int
CapacityRequirements: requests=1%:Quantity
DeviceConstraint: requests=1*:string matchAttribute=2:string distinctAttribute=3:string
DeviceClaimConfiguration: requests=1*:string =2:DeviceConfiguration
DeviceConfiguration: opaque=1:OpaqueDeviceConfiguration
OpaqueDeviceConfiguration: driver=1:string parameters=2:RawExtension
ResourceClaimStatus: allocation=1:AllocationResult reservedFor=2*:ResourceClaimConsumerReference
 devices=4*:AllocatedDeviceStatus
AllocationResult: devices=1:DeviceAllocationResult nodeSelector=3:NodeSelector allocationTimestamp=5:Time
DeviceAllocationResult: results=1*:DeviceRequestAllocationResult config=2*:DeviceAllocationConfiguration
DeviceRequestAllocationResult: request=1:string driver=2:string pool=3:string device=4:string adminAccess=5:bool
 tolerations=6*:DeviceToleration bindingConditions=7*:string bindingFailureConditions=8*:string shareID=9:string
 consumedCapacity=10%:Quantity
DeviceAllocationConfiguration: source=1:string requests=2*:string =3:DeviceConfiguration
ResourceClaimConsumerReference: apiGroup=1:string resource=3:string name=4:string uid=5:string
AllocatedDeviceStatus: driver=1:string pool=2:string device=3:string conditions=4*:Condition data=5:RawExtension
 networkData=6:NetworkDeviceData shareID=7:string
NetworkDeviceData: interfaceName=1:string ips=2*:string hardwareAddress=3:string
Condition: type=1:string status=2:string observedGeneration=3:int lastTransitionTime=4:Time reason=5:string
 message=6:string
DeviceClassSpec: selectors=1*:DeviceSelector config=2*:DeviceClassConfiguration extendedResourceName=4:string
DeviceClassConfiguration: =1:DeviceConfiguration
DeviceTaintRuleSpec: deviceSelector=1:DeviceTaintSelector taint=2:DeviceTaint
DeviceTaintSelector: driver=2:string pool=3:string device=4:string
DeviceTaintRuleStatus: conditions=1*:Condition
v1beta1.Device: name=1:string basic=2:BasicDevice
v1beta1.DeviceRequest: name=1:string deviceClassName=2:string selectors=3*:DeviceSelector allocationMode=4:string
 count=5:int adminAccess=6:bool firstAvailable=7*:DeviceSubRequest tolerations=8*:DeviceToleration
 capacity=9:CapacityRequirements
v1beta1.DeviceSubRequest: name=1:string deviceClassName=2:string selectors=3*:DeviceSelector allocationMode=4:string
 count=5:int tolerations=7*:DeviceToleration capacity=8:CapacityRequirements
"""
"""`name=number:type`; `*` repeated, `%` a map from strings; a field without a name lies open in its message."""


class _Field(NamedTuple):
    name: str
    type: str
    is_list: bool
    is_map: bool


class UndecodableError(ValueError):
    """A body that is no protobuf message of its kind."""


def _messages() -> dict[str, dict[int, _Field]]:
    found = {}
    for row in _TABLE.replace("\n ", " ").strip().splitlines():
        message, _, fields = row.partition(":")
        numbers = {}
        for field in fields.split():
            name, _, rest = field.partition("=")
            number, _, type_name = rest.partition(":")
            numbers[int(number.rstrip("*%"))] = _Field(name, type_name, number.endswith("*"), number.endswith("%"))
        found[message] = numbers
    return found


_MESSAGES: Final = _messages()


def decode(content: bytes) -> dict[str, Any]:
    """Return a body as JSON would have it, with its apiVersion and kind; UndecodableError if it cannot be read."""
    if not content.startswith(_MAGIC):
        raise UndecodableError("the envelope of a protobuf body is missing")
    api_version = kind = ""
    raw = b""
    for number, value in _fields(content[len(_MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            names = {number: _text(text) for number, text in _fields(value)}
            api_version, kind = names.get(1, ""), names.get(2, "")
        elif number == 2 and isinstance(value, bytes):
            raw = value
    if kind not in _MESSAGES:
        raise UndecodableError(f"{kind} is not read in protobuf here, but in JSON")
    version = api_version.rpartition("/")[2]
    return {"apiVersion": api_version, "kind": kind, **_message(raw, kind, version, 0)}


def _message(content: bytes, name: str, version: str, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise UndecodableError("nested too deeply")
    fields = _MESSAGES.get(f"{version}.{name}") or _MESSAGES[name]
    document: dict[str, Any] = {}
    for number, value in _fields(content):
        field = fields.get(number)
        if field is None:
            continue  # of a newer API than this one, and dropped there too
        if field.is_map:
            entry = dict(_fields(_bytes(value)))
            shown = _value(entry.get(2, b""), field.type, version, depth)
            document.setdefault(field.name, {})[_text(entry.get(1, b""))] = shown
        elif field.is_list and isinstance(value, bytes) and field.type in ("int", "bool"):
            document.setdefault(field.name, []).extend(_number(one, field.type) for one in _packed(value))
        elif field.is_list:
            document.setdefault(field.name, []).append(_value(value, field.type, version, depth))
        elif not field.name:
            document.update(_value(value, field.type, version, depth))
        else:
            document[field.name] = _value(value, field.type, version, depth)
    return {key: value for key, value in document.items() if value is not None}


def _value(value: int | bytes, type_name: str, version: str, depth: int) -> Any:
    if type_name in ("int", "bool"):
        return _number(value, type_name)
    content = _bytes(value)
    if type_name == "string":
        return _text(content)
    if type_name == "Quantity":
        return _text(dict(_fields(content)).get(1, b"0"))
    if type_name == "Time":
        seconds = dict(_fields(content)).get(1, 0)
        return None if not seconds else _time(_number(seconds, "int"))
    if type_name == "RawExtension":
        raw = _bytes(dict(_fields(content)).get(1, b""))
        try:
            return json.loads(raw) if raw else None
        except ValueError as error:
            raise UndecodableError(f"error parsing data as JSON: {error}") from error
    return _message(content, type_name, version, depth + 1)


def _time(seconds: int) -> str | None:
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return None  # Go's zero time is long before the epoch
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if seconds > 0 else None


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _varint(content, position)
            yield number, value
            continue
        if wire_type == 2:
            size, position = _varint(content, position)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise UndecodableError(f"wire type {wire_type}")
        if position + size > len(content):
            raise UndecodableError("it ends in the middle of a field")
        yield number, content[position : position + size]
        position += size


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            raise UndecodableError("it ends in the middle of a number")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise UndecodableError("a number is too long")


def _packed(content: bytes) -> Iterator[int]:
    position = 0
    while position < len(content):
        value, position = _varint(content, position)
        yield value


def _number(value: int | bytes, type_name: str) -> Any:
    if not isinstance(value, int):
        raise UndecodableError("bytes where a number belongs")
    if type_name == "bool":
        return bool(value)
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise UndecodableError("a number where bytes belong")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError as error:
        raise UndecodableError(f"not UTF-8: {error}") from error
