"""Debian's kernel, unpacked from its package and kept under build/guest: nothing is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from support.programs import TOP

CACHE = TOP / "build" / "guest"
META = "linux-image-amd64"
MODULES = (
    *("kernel/fs/overlayfs/overlay.ko", "kernel/block/bfq.ko", "kernel/drivers/block/loop.ko"),
    *("kernel/crypto/crc32c_generic.ko", "kernel/lib/crc16.ko", "kernel/fs/mbcache.ko", "kernel/fs/jbd2/jbd2.ko"),
    *("kernel/fs/ext4/ext4.ko", "kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio.ko"),
    *("kernel/drivers/virtio/virtio_pci_legacy_dev.ko", "kernel/drivers/virtio/virtio_pci_modern_dev.ko"),
    *("kernel/drivers/virtio/virtio_pci.ko", "kernel/drivers/block/virtio_blk.ko"),
    *("kernel/net/llc/llc.ko", "kernel/net/802/stp.ko", "kernel/net/bridge/bridge.ko", "kernel/drivers/net/veth.ko"),
    *("kernel/lib/libcrc32c.ko", "kernel/net/netfilter/nfnetlink.ko", "kernel/net/ipv4/netfilter/nf_defrag_ipv4.ko"),
    *("kernel/net/ipv6/netfilter/nf_defrag_ipv6.ko", "kernel/net/netfilter/nf_conntrack.ko"),
    *("kernel/net/netfilter/nf_nat.ko", "kernel/net/netfilter/nf_tables.ko", "kernel/net/netfilter/nft_chain_nat.ko"),
    *("kernel/net/netfilter/nft_nat.ko", "kernel/net/netfilter/nft_masq.ko", "kernel/net/netfilter/nft_ct.ko"),
    *("kernel/net/netfilter/nft_fib.ko", "kernel/net/ipv4/netfilter/nft_fib_ipv4.ko"),
    *("kernel/net/ipv6/netfilter/nft_fib_ipv6.ko", "kernel/net/netfilter/nft_fib_inet.ko"),
)
"""What the guest loads, in this order; Debian builds these as modules."""


class Kernel(NamedTuple):
    image: Path
    modules: tuple[Path, ...]


def kernel() -> Kernel:
    """The newest kernel that the package lists know, downloaded at the first call."""
    package = _package()
    place = CACHE / package
    if not all((place / Path(name).name).is_file() for name in MODULES):
        _fetch(package, place)
    (image,) = place.glob("vmlinuz-*")
    return Kernel(image, tuple(place / Path(name).name for name in MODULES))


def _package() -> str:
    listed = _output("apt-cache", "depends", META)
    found = re.search(r"Depends: (linux-image-\S+)", listed)
    if found is None:
        raise LookupError(f"the package lists do not know {META}: run apt-get update")
    return found[1]


def _fetch(package: str, place: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _output("apt-get", "-q", "download", package, cwd=folder)
        (archive,) = Path(folder).glob("*.deb")
        tar = Path(folder, "tar")
        with tar.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=file, check=True, timeout=120)
        wanted = ["./boot/vmlinuz-*", *(f"./lib/modules/*/{name}" for name in MODULES)]
        made = Path(folder, "made")
        made.mkdir()
        _output("tar", "-xf", str(tar), "-C", str(made), "--wildcards", "--transform", "s,.*/,,", *wanted)
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)


def apparmor_policy(profile: str) -> bytes:
    """A profile's text as the kernel takes it, compiled by Debian's parser, which is unpacked and not installed."""
    place = CACHE / "apparmor"
    if not place.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _output("apt-get", "-q", "download", "apparmor", cwd=folder)
            (archive,) = Path(folder).glob("*.deb")
            _output("dpkg-deb", "-x", str(archive), f"{folder}/made")
            Path(folder, "made").rename(place)
    features = place / "etc/apparmor.d/abi/3.0"
    command: list[str | Path] = [
        place / "sbin/apparmor_parser", "--skip-kernel-load", "--skip-cache", "--stdout",
        "--config-file", "/dev/null", "--policy-features", features, "--kernel-features", features,
    ]  # fmt: skip
    return subprocess.run(command, input=profile.encode(), capture_output=True, check=True, timeout=60).stdout


def _output(*command: str, cwd: str | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=300)
    return done.stdout
