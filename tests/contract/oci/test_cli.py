"""The command line itself: flags, help, version, what is refused by name."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from contract.oci.harness import Runtime

VERBS = (
    "create start run state kill delete exec list ps pause resume update events spec features checkpoint restore"
).split()


def call(bin_dir: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([bin_dir / "stockade-oci", *args], capture_output=True, text=True, timeout=10, **more)  # type: ignore[call-overload, no-any-return]


def test_version(bin_dir: Path, tmp_path: Path) -> None:
    done = call(bin_dir, "--version")
    assert re.fullmatch(r"stockade-oci version \d+\.\d+\.\d+\ncommit: \S+\nspec: 1\.\d+\.\d+\n", done.stdout)
    alias = tmp_path / "runc"
    alias.symlink_to(bin_dir / "stockade-oci")
    named = subprocess.run([alias, "-v"], capture_output=True, text=True, timeout=10)
    assert named.stdout.startswith("runc version ")


@pytest.mark.parametrize("args", [(), ("--help",), ("-h",), ("help",)])
def test_help_teaches(bin_dir: Path, args: tuple[str, ...]) -> None:
    done = call(bin_dir, *args)
    assert done.returncode == 0
    assert "usage:" in done.stdout
    assert all(re.search(rf"^  {verb} ", done.stdout, re.MULTILINE) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help(bin_dir: Path, verb: str) -> None:
    done = call(bin_dir, verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"stockade-oci {verb} - ")
    assert call(bin_dir, "help", verb).stdout == done.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("bogus",), 'unknown command "bogus"'),
        (("--bogus",), "flag provided but not defined: -bogus"),
        (("create", "--bogus", "x"), "flag provided but not defined: -bogus"),
        (("create",), '"create" requires exactly 1 argument(s)'),
        (("kill", "a", "9", "x"), '"kill" requires'),
        (("create", "--bundle"), "flag needs an argument: --bundle"),
        (("--systemd-cgroup", "list"), "--systemd-cgroup is not supported"),
        (("--cgroup-manager", "systemd", "list"), "--cgroup-manager systemd is not supported"),
        (("--cgroup-manager", "x", "list"), 'invalid value "x" for --cgroup-manager'),
        (("--log-format", "xml", "list"), "invalid log-format: xml"),
        (("--rootless", "perhaps", "list"), 'invalid value "perhaps" for --rootless'),
        (("--root", "/tmp", "list", "--format", "xml"), "invalid format option"),
        (("restore", "x"), "restore is not supported"),
    ],
)
def test_mistakes_are_named(bin_dir: Path, args: tuple[str, ...], words: str) -> None:
    done = call(bin_dir, *args)
    assert done.returncode in (1, 255)
    assert done.stdout == ""
    assert re.search(words.replace("(s)", r"\(s\)"), done.stderr.replace(r"\"", '"')), done


def test_go_spellings(bin_dir: Path, tmp_path: Path) -> None:
    assert call(bin_dir, "-root", str(tmp_path), "list", "-format=json").stdout == "[]\n"
    assert call(bin_dir, f"--root={tmp_path}", "delete", "nope", "--force").returncode == 0


def test_features(bin_dir: Path) -> None:
    features = json.loads(call(bin_dir, "features").stdout)
    assert "rro" in features["mountOptions"]
    assert {"user", "time"} <= set(features["linux"]["namespaces"])
    assert len(features["hooks"]) == 6
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert features["linux"]["seccomp"]["enabled"] is True
    assert features["ociVersionMin"] <= "1.0.2" <= features["ociVersionMax"]


def test_spec_is_what_run_runs(bin_dir: Path, tmp_path: Path) -> None:
    done = call(bin_dir, "spec", cwd=str(tmp_path))
    assert done.returncode == 0, done
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["terminal"] is True
    assert config["root"]["path"] == "rootfs"
    again = call(bin_dir, "spec", "--bundle", str(tmp_path))
    assert (again.returncode, "File config.json exists. Remove it first" in again.stderr) == (1, True)
    (tmp_path / "rootless").mkdir()
    assert call(bin_dir, "spec", "--rootless", "--bundle", str(tmp_path / "rootless")).returncode == 0
    rootless = json.loads((tmp_path / "rootless/config.json").read_text())
    assert {"type": "user"} in rootless["linux"]["namespaces"]


@pytest.mark.root
def test_spec_runs(ours: Runtime) -> None:
    bundle = ours.bundle("true")
    (bundle / "config.json").unlink()
    ours.ok("spec", "--bundle", bundle)
    text = (bundle / "config.json").read_text()
    (bundle / "config.json").write_text(text.replace('"terminal": true', '"terminal": false').replace('"sh"', '"id"'))
    assert ours.ok("run", "--bundle", bundle, ours.place.name()).startswith("uid=0")
