"""Every answer that carries an object, by the API's own definition: no field that it does not know, and none missing
but those that are named here with their reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support import api, definition, fixtures
from support.daemon import IMAGE, Daemon
from support.patience import eventually

pytestmark = pytest.mark.root
_docker = fixtures.docker

WITHOUT = {
    "it was not asked for": """
        ContainerInspectResponse.Config.Healthcheck.Retries ContainerInspectResponse.Config.Healthcheck.StartInterval
        ContainerInspectResponse.Config.Healthcheck.StartPeriod ContainerInspectResponse.Config.Healthcheck.Timeout
        ContainerInspectResponse.Config.NetworkDisabled ContainerInspectResponse.Config.OnBuild
        ContainerInspectResponse.Config.Shell ContainerInspectResponse.Config.StopSignal
        ContainerInspectResponse.Config.StopTimeout ContainerInspectResponse.HostConfig.Annotations
        ContainerInspectResponse.HostConfig.Init ContainerInspectResponse.HostConfig.Mounts
        ContainerInspectResponse.HostConfig.StorageOpt ContainerInspectResponse.HostConfig.Sysctls
        ContainerInspectResponse.HostConfig.Tmpfs ContainerInspectResponse.HostConfig.Umask
        ContainerSummary.HostConfig.Annotations
        NetworkInspect.IPAM.Config[].AuxiliaryAddresses NetworkInspect.IPAM.Config[].IPRange
        NetworkSummary.IPAM.Config[].AuxiliaryAddresses NetworkSummary.IPAM.Config[].IPRange
        Volume.UsageData VolumeListResponse.Volumes[].UsageData
    """,
    "the image says nothing of it": """
        ImageInspect.Author ImageInspect.Comment ImageInspect.Created
        ImageInspect.Config.Entrypoint ImageInspect.Config.ExposedPorts
        ImageInspect.Config.Healthcheck ImageInspect.Config.Labels ImageInspect.Config.OnBuild ImageInspect.Config.Shell
        ImageInspect.Config.StopSignal ImageInspect.Config.User ImageInspect.Config.Volumes
        ImageInspect.Config.WorkingDir ImageInspect.OsVersion ImageInspect.Variant
        ImageInspect.Identity ImageInspect.Manifests[].ImageData.Identity ImageSummary.Manifests[].ImageData.Identity
        ImageInspect.Manifests[].ImageData.Platform.os.features ImageInspect.Manifests[].ImageData.Platform.os.version
        ImageInspect.Manifests[].ImageData.Platform.variant
        ImageSummary.Manifests[].ImageData.Platform.os.features ImageSummary.Manifests[].ImageData.Platform.os.version
        ImageSummary.Manifests[].ImageData.Platform.variant
    """,
    "an image here has one platform, and its manifest stands in Manifests": """
        ContainerInspectResponse.ImageManifestDescriptor ContainerSummary.ImageManifestDescriptor
        ImageInspect.Descriptor ImageSummary.Descriptor
        ImageInspect.Manifests[].AttestationData ImageSummary.Manifests[].AttestationData
        ImageInspect.Manifests[].Descriptor.annotations ImageInspect.Manifests[].Descriptor.artifactType
        ImageInspect.Manifests[].Descriptor.data ImageInspect.Manifests[].Descriptor.platform
        ImageInspect.Manifests[].Descriptor.urls
        ImageSummary.Manifests[].Descriptor.annotations ImageSummary.Manifests[].Descriptor.artifactType
        ImageSummary.Manifests[].Descriptor.data ImageSummary.Manifests[].Descriptor.platform
        ImageSummary.Manifests[].Descriptor.urls
    """,
    "GraphDriver says where its files are": "ContainerInspectResponse.Storage",
    "it is Windows'": """
        ContainerInspectResponse.Config.ArgsEscaped ImageInspect.Config.ArgsEscaped
        ContainerStatsResponse.memory_stats.commitbytes ContainerStatsResponse.memory_stats.commitpeakbytes
        ContainerStatsResponse.memory_stats.privateworkingset
        ContainerStatsResponse.networks.*.endpoint_id ContainerStatsResponse.networks.*.instance_id
        ContainerStatsResponse.storage_stats.read_count_normalized ContainerStatsResponse.storage_stats.read_size_bytes
        ContainerStatsResponse.storage_stats.write_count_normalized
        ContainerStatsResponse.storage_stats.write_size_bytes
    """,
    "it is a swarm's": """
        NetworkInspect.Peers NetworkInspect.Services NetworkSummary.Peers SystemInfo.GenericResources
        SystemInfo.Swarm.Cluster SystemInfo.Swarm.Managers SystemInfo.Swarm.Nodes
        Volume.ClusterVolume Volume.Status
        VolumeListResponse.Volumes[].ClusterVolume VolumeListResponse.Volumes[].Status
    """,
    "there is none here": """
        SystemInfo.Containerd SystemInfo.DefaultAddressPools SystemInfo.DiscoveredDevices SystemInfo.NRI
        SystemInfo.FirewallBackend.Info
        SystemInfo.ProductLicense SystemInfo.Runtimes.*.runtimeArgs SystemInfo.Runtimes.*.status
        SystemVersion.Experimental
    """,
}
"""Why an answer is without a field: paths of the definition."""
AT_ZERO = {"ContainerStatsResponse.memory_stats.failcnt", "ContainerStatsResponse.memory_stats.max_usage"}
"""Left out at 0, as version 2 of the cgroups has neither."""


@pytest.fixture(name="box", scope="module")
def _box(docker: Daemon) -> Iterator[str]:
    wanted = {
        "Image": IMAGE,
        "Cmd": ["sleep", "1000"],
        "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 200_000_000},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}, "Binds": ["kept:/kept"]},
        "Labels": {"a": "b"},
    }
    identity = api.must(docker, "POST", "/containers/create?name=box", wanted)["Id"]
    api.must(docker, "POST", f"/containers/{identity}/start")
    eventually(lambda: _inspect(docker)["State"]["Health"]["Log"], "it is probed")
    yield identity
    api.remove(docker, identity)


def _inspect(docker: Daemon) -> Any:
    return api.must(docker, "GET", "/containers/box/json?size=1")


ANSWERS = {
    "ContainerInspectResponse": "/containers/box/json?size=1",
    "[ContainerSummary]": "/containers/json?size=1",
    "ContainerStatsResponse": "/containers/box/stats?stream=0&one-shot=1",
    "ImageInspect": f"/images/{IMAGE}/json?manifests=1",
    "[ImageSummary]": "/images/json?manifests=1&shared-size=1",
    "[ImageHistoryResponseItem]": f"/images/{IMAGE}/history",
    "NetworkInspect": "/networks/bridge",
    "[NetworkSummary]": "/networks",
    "Volume": "/volumes/kept",
    "VolumeListResponse": "/volumes",
    "SystemInfo": "/info",
    "SystemVersion": "/version",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_what_the_definition_says(docker: Daemon, box: str, name: str) -> None:
    theirs = definition.load()
    answer = api.must(docker, "GET", ANSWERS[name])
    kind = name.strip("[]")
    schema = {"$ref": f"#/definitions/{kind}"}
    more, less = definition.differences(theirs, schema, answer[0] if name != kind else answer, kind)
    named = {path for paths in WITHOUT.values() for path in paths.split() if path.startswith(f"{kind}.")}
    assert more == set()
    assert less - AT_ZERO == named
