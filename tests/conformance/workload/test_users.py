"""Who a program is, and what that lets it do."""

from __future__ import annotations

import pytest

from conformance.workload.conftest import Run

pytestmark = pytest.mark.root


def test_root_by_default(run: Run) -> None:
    assert run("id").ok() == "uid=0(root) gid=0(root) groups=0(root)\n"


def test_user_group_and_groups(run: Run) -> None:
    assert (
        run("sh", "-c", "id -u; id -g; id -G", uid=1234, gid=2345, groups=[7, 3456]).ok() == "1234\n2345\n2345 7 3456\n"
    )


def test_user_holds_no_capabilities(run: Run) -> None:
    lines = run("grep", "-E", "Cap(Prm|Eff|Amb)", "/proc/self/status", uid=1000, gid=1000).ok().splitlines()
    assert [line.split()[1] for line in lines] == ["0" * 16] * 3


def test_root_holds_what_was_asked(run: Run) -> None:
    lines = run("sh", "-c", "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status", capabilities=["CAP_CHOWN", "CAP_KILL"]).ok()
    assert [int(line.split()[1], 16) for line in lines.splitlines()] == [1 << 0 | 1 << 5] * 3


def test_no_new_privileges(run: Run) -> None:
    assert run("grep", "NoNewPrivs", "/proc/self/status").ok().split()[1] == "1"


def test_setuid_gives_nothing(run: Run) -> None:
    script = "cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id; exec setpriv --reuid 1000 --clear-groups /tmp/id -u"
    assert run("sh", "-c", script).ok() == "1000\n"


def test_files_of_others(run: Run) -> None:
    script = "cat /etc/shadow || echo refused; touch /etc/x || echo refused; touch /tmp/mine && stat -c %u:%g /tmp/mine"
    assert run("sh", "-c", script, uid=1000, gid=1001).text == "refused\nrefused\n1000:1001\n"


def test_changing_owners(run: Run) -> None:
    assert run("sh", "-c", "touch /tmp/x; chown 55:66 /tmp/x; stat -c %u:%g /tmp/x").ok() == "55:66\n"


def test_becoming_another(run: Run) -> None:
    script = "setpriv --reuid 1000 --regid 1000 --clear-groups sh -c 'id -u; kill 1 || echo refused'"
    assert run("sh", "-c", script).text == "1000\nrefused\n"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_umask(run: Run, umask: int) -> None:
    done = run("sh", "-c", "touch /tmp/x; stat -c %a /tmp/x", umask=umask)
    assert done.ok() == f"{0o666 & ~umask:o}\n"
