"""The generated messages live beside a project's own stubs of the same public file, whichever comes first."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import kubeletapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.drahealth.v1 import api_pb2 as drahealthapi
from kubeletapi.podresources.v1 import api_pb2 as podresourcesapi

STUBS = Path(__file__).parents[1] / "own_stubs"
API = Path(kubeletapi.__file__).parent
MODULES = sorted(".".join(file.relative_to(API.parent).with_suffix("").parts) for file in API.rglob("*_pb2_grpc.py"))
OURS = "\n".join(
    ["from kubeletapi.deviceplugin.v1beta1 import api_pb2 as ours", *(f"import {module}" for module in MODULES)]
)
THEIRS = "import api_pb2 as theirs, api_pb2_grpc as theirs_grpc"
BOTH_WORK = """
from google.protobuf.internal import api_implementation
assert api_implementation.Type() == sys.argv[1], api_implementation.Type()
assert ours.RegisterRequest is not theirs.RegisterRequest
reply = ours.ContainerAllocateResponse(envs={"A": "1"}, mounts=[ours.Mount(host_path="/x", read_only=True)])
copied = theirs.ContainerAllocateResponse.FromString(reply.SerializeToString())
assert copied.envs == {"A": "1"} and copied.mounts[0].read_only
assert ours.ContainerAllocateResponse.FromString(copied.SerializeToString()) == reply
assert theirs.DESCRIPTOR.services_by_name["DevicePlugin"].full_name == ours.DESCRIPTOR.services_by_name["DevicePlugin"].full_name
"""


@pytest.mark.parametrize("implementation", ["upb", "python"])
@pytest.mark.parametrize(
    "imports", [(OURS, THEIRS), (THEIRS, OURS)], ids=["own stubs after ours", "own stubs before ours"]
)
def test_own_stubs_of_the_same_file_are_imported_beside_ours(imports, implementation):
    code = "\n".join(["import sys", *imports, BOTH_WORK])
    environ = {**os.environ, "PYTHONPATH": str(STUBS), "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}

    done = subprocess.run([sys.executable, "-c", code, implementation], env=environ, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_a_plugin_on_own_stubs_meets_the_fake_kubelet_in_one_process(implementation, short_dir):
    environ = {**os.environ, "PYTHONPATH": str(STUBS), "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": implementation}

    done = subprocess.run(
        [sys.executable, __file__, str(short_dir / "dp")], env=environ, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr


def test_nothing_of_ours_is_in_the_pool_of_the_process():
    code = (
        f"import sys\n{OURS}\nfrom google.protobuf import descriptor_pool\n"
        "names = [message.full_name for name, module in sys.modules.items() if name.startswith('kubeletapi.')\n"
        "    and name.endswith('_pb2') for message in module.DESCRIPTOR.message_types_by_name.values()]\n"
        "assert 'v1beta1.RegisterRequest' in names and 'v1.PodResources' in names, names\n"
        "for name in names:\n"
        "    try: descriptor_pool.Default().FindMessageTypeByName(name)\n"
        "    except KeyError: continue\n"
        "    raise SystemExit(name)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_messages_look_as_protobuf_makes_them():
    reply = pluginapi.ContainerAllocateResponse(envs={"A": "1"})

    assert type(reply).__module__ == "kubeletapi.deviceplugin.v1beta1.api_pb2"
    assert pluginapi.ContainerAllocateResponse.EnvsEntry.__qualname__ == "ContainerAllocateResponse.EnvsEntry"
    assert pickle.loads(pickle.dumps(reply)) == reply
    assert drahealthapi.HealthStatus.Name(drahealthapi.HEALTHY) == "HEALTHY"
    assert podresourcesapi.DESCRIPTOR.services_by_name["PodResourcesLister"].full_name == "v1.PodResourcesLister"


async def _serve_on_own_stubs(directory: Path) -> None:
    import api_pb2
    import api_pb2_grpc
    import grpc

    import fakekubelet
    from fakekubelet import pod

    class Plugin(api_pb2_grpc.DevicePluginServicer):
        async def GetDevicePluginOptions(self, request, context):
            return api_pb2.DevicePluginOptions()

        async def ListAndWatch(self, request, context):
            yield api_pb2.ListAndWatchResponse(devices=[api_pb2.Device(ID="a", health="Healthy")])
            await asyncio.Event().wait()

        async def Allocate(self, request, context):
            assert type(request) is api_pb2.AllocateRequest
            return api_pb2.AllocateResponse(container_responses=[api_pb2.ContainerAllocateResponse(envs={"A": "1"})])

    async with fakekubelet.FakeKubelet(directory) as kubelet:
        server = grpc.aio.server()
        api_pb2_grpc.add_DevicePluginServicer_to_server(Plugin(), server)
        server.add_insecure_port(f"unix:{directory}/own.sock")
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{directory}/kubelet.sock") as channel:
            await api_pb2_grpc.RegistrationStub(channel).Register(
                api_pb2.RegisterRequest(version="v1beta1", endpoint="own.sock", resource_name="example.com/own")
            )
        await kubelet.wait_for(lambda: kubelet.allocatable.get("example.com/own") == 1)
        admitted = await kubelet.admit(pod.simple("mine", {"example.com/own": 1}))
        assert admitted.containers["main"].env == {"A": "1"}
        await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(_serve_on_own_stubs(Path(sys.argv[1])))
