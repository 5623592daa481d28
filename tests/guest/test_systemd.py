"""The engine on a host that systemd runs, with cgroup v2: units, where containers lie, what a restart leaves alone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from guest import machine, system
from guest.kernel import apparmor_policy
from guest.machine import Report

pytestmark = [
    pytest.mark.judge,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(machine.missing()), reason=machine.missing() or "-"),
]
BOUND = 900.0
PROFILE = "profile stockade-test flags=(attach_disconnected) { file, capability, signal, deny /proc/uptime r, }\n"
# What every step begins with.
WORDS = r"""#!/bin/sh
. /share/words
"""
TOOLS = r"""
cgroups=/sys/fs/cgroup
ours=$cgroups/stockade.slice/stockade-containers.service
id() { stockade inspect --format '{{.Id}}' "$1"; }
pid() { stockade inspect --format '{{.State.Pid}}' "$1"; }
state() { stockade inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$1"; }
daemon() { systemctl show --property MainPID --value stockade.service; }
# What ends by itself in time.
until_() { for turn in $(seq 50); do "$@" && return; sleep 0.3; done; echo "in vain: $*"; return 1; }
ended() { [ "$(state $1)" != "running 0" ]; }
shims() { grep -l containerd-shim /proc/[0-9]*/comm 2>/dev/null | wc -l; }
no_shims() { [ "$(shims)" = 0 ]; }
serving() { grep -l stockade-net /proc/[0-9]*/comm 2>/dev/null | cut -d/ -f3; }
nobody_serves() { [ -z "$(serving)" ]; }
page() { busybox wget -qO- http://127.0.0.1:8080/; }
has_page() { [ -n "$(page 2>/dev/null)" ]; }
changed() { new=$(daemon); [ "$new" != 0 ] && [ "$new" != "$1" ]; }
get() { python3.11 - "$1" <<'END'
import http.client, socket, sys
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/stockade/stockade.sock")
connection = Connection("docker")
connection.request("GET", sys.argv[1])
answer = connection.getresponse()
print(answer.status, answer.read().decode().strip()[:60])
END
}
"""
INSTALL = """
set -e
cp /share/units/* /etc/systemd/system
systemctl daemon-reload
systemctl enable --now stockade.socket
systemctl is-active stockade.socket stockade.service || true
[ ! -e /run/dbus/system_bus_socket ] && echo no bus
"""
ACTIVATION = """
get /_ping
systemctl is-active stockade.service stockade-containers.service
systemctl show --property ControlGroup --property Delegate stockade-containers.service
stockade load -i /share/box.tar
"""
LIMITS = """
set -e
stockade run -d --name limited -m 64m --pids-limit 33 --cpus 0.5 box:1 sleep 1000 >/dev/null
place=$ours/$(id limited)
cat $place/memory.max $place/pids.max $place/cpu.max
cut -d: -f3 /proc/$(pid limited)/cgroup | sed "s,$(id limited),ID,"
cut -d: -f3 /proc/$(cat /var/lib/stockade/engine/$(id limited)/shim.pid)/cgroup
stockade run --rm --memory 48m box:1 sh -c 'cat /sys/fs/cgroup/memory.max /proc/self/oom_score_adj' || echo "status $?"
stockade update --pids-limit 44 limited >/dev/null
systemctl daemon-reload
systemctl set-property stockade.slice MemoryMax=900M
cat $place/memory.max $place/pids.max $cgroups/stockade.slice/memory.max
ls -d $cgroups/stockade*
"""
RESTART = """
set -e
mkdir /go
counts='n=0; while :; do echo line $n; n=$((n+1)); sleep 0.2; done'
waits='until [ -e /go/on ]; do sleep 0.1; done; echo said; exit 7'
stockade run -d --name goes box:1 sh -c "$counts" >/dev/null
stockade run -d --name ends -v /go:/go box:1 sh -c "$waits" >/dev/null
before=$(pid goes) first=$(daemon) waits=$(id ends)
systemctl restart stockade.service
second=$(daemon)
[ "$first" != "$second" ] && [ "$(pid goes)" = $before ] && echo restarted
kill -9 $second
until_ changed $second
[ "$(pid goes)" = $before ] && echo killed
systemctl stop stockade.service 2>/dev/null
touch /go/on
until_ [ -e /var/lib/stockade/engine/$waits/exit.json ]
systemctl is-active stockade.service || true
stockade wait ends
stockade logs ends
state ends
[ "$(pid goes)" = $before ] && [ -d /proc/$before ] && echo goes on
stockade logs goes > /tmp/lines
python3.11 -c '
lines = open("/tmp/lines").read().splitlines()
print("lines whole" if len(lines) > 20 and lines == [f"line {n}" for n in range(len(lines))] else lines)'
"""
NETWORK = """
set -e
stockade network create --subnet 10.7.0.0/24 n >/dev/null
serves='mkdir -p /w; echo a page > /w/index.html; exec busybox httpd -f -h /w -p 80'
stockade run -d --name web --network n -p 8080:80 box:1 sh -c "$serves" >/dev/null
until_ has_page
serve=$(serving) web=$(pid web)
cut -d: -f3 /proc/$serve/cgroup
systemctl stop stockade.service 2>/dev/null
systemctl is-active stockade.service || true
page
nsenter -t $web -n busybox nslookup web 10.7.0.1 | grep -c 10.7.0.2
[ "$(serving)" = $serve ] && echo serves on
stockade inspect web >/dev/null
kill -9 $serve
again() { [ -n "$(serving)" ]; }
until_ again
page
"""
CONFINED = """
set -e
cat /share/policy > /sys/kernel/security/apparmor/.load
tells='cat /proc/self/attr/current; cat /proc/uptime || true'
stockade run --rm --security-opt apparmor=stockade-test box:1 sh -c "$tells"
"""
STOP = """
systemctl stop stockade.socket stockade.service stockade-containers.service
until_ no_shims
until_ nobody_serves && echo nobody serves
ls -d $cgroups/system.slice/stockade*/ $cgroups/stockade.slice/*/ 2>/dev/null
ls /run/stockade/stockade.sock 2>/dev/null
grep -c /stockade/ /proc/self/mountinfo
systemctl start stockade.socket
state goes
state limited
stockade start limited >/dev/null
stockade start web >/dev/null
until_ has_page
cat $ours/$(id limited)/pids.max
systemctl stop stockade-containers.service
until_ ended limited
state limited
until_ ended web
until_ nobody_serves && echo nobody serves
systemctl is-active stockade-containers.service
"""
UNINSTALL = """
stockade start limited
stockade system uninstall --purge --force
systemctl is-active stockade.socket stockade.service stockade-containers.service
systemctl is-enabled stockade.socket stockade.service
rm /etc/systemd/system/stockade*.s*
rm -rf /etc/systemd/system.control/stockade.slice.d /run/systemd/system.control
systemctl daemon-reload
"""
LEFT = """
ls -d /var/lib/stockade /run/stockade $cgroups/*/stockade* $cgroups/stockade* 2>/dev/null
no_shims || echo shims
nobody_serves || echo somebody serves
ls /sys/class/net | grep -v lo
nft list tables | grep stockade
grep stockade /etc/subuid /etc/subgid
grep -h stockade /proc/[0-9]*/mountinfo
systemctl list-units --all --no-legend 'stockade*'
echo nothing else
"""
ON_DEMAND = """
set -e
stockade load -i /share/box.tar
stockade run -d --name one --memory 64m box:1 sleep 1000 >/dev/null
cat /proc/$(cat /run/stockade/daemon.pid)/cgroup
cat $ours/$(id one)/memory.max
systemctl show --property Transient --property Delegate --property ActiveState stockade-containers.service
stockade do --no-cwd --memory 32m cat /sys/fs/cgroup/memory.max
kill -9 $(cat /run/stockade/daemon.pid)
state one
stockade stop -t 0 one >/dev/null
state one
stockade system uninstall --purge --force
"""
STEPS = {
    "01-install": INSTALL, "02-activation": ACTIVATION, "03-limits": LIMITS, "04-restart": RESTART,
    "04-then-network": NETWORK, "05-confined": CONFINED, "06-stop": STOP, "07-uninstall": UNINSTALL, "08-left": LEFT,
    "09-on-demand": ON_DEMAND, "10-left": LEFT,
}  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Report:
    """One boot for all of it: systemd needs its time in software."""
    steps = {name: WORDS + text for name, text in STEPS.items()}
    files = {"words": TOOLS.encode(), "policy": apparmor_policy(PROFILE)}
    with system.disk(steps, files) as disk:
        return machine.boot(machine.base(), BOUND, disk)


def lines(host: Report, step: str) -> list[str]:
    """What a step that ended said."""
    assert host.status(step) is not None, host.console[-6000:]
    return host.said(step).split("\n")[1:-1]


def test_the_guest_boots_in_time(host: Report, record_property: Callable[[str, object], None]) -> None:
    up = re.search("GUEST (up after .*)", host.console)
    assert up, host.console[-4000:]
    record_property("guest", f"systemd, {up[1]}, all of it {host.seconds:.0f} s")


def test_the_socket_waits_for_the_first_request(host: Report) -> None:
    said = lines(host, "01-install")
    assert said[-3:] == ["active", "inactive", "no bus"], said
    said = lines(host, "02-activation")
    assert said[:3] == ["200 OK", "active", "active"], said
    assert "ControlGroup=/stockade.slice/stockade-containers.service" in said, said
    assert "Delegate=yes" in said, said


def test_containers_lie_in_one_delegated_unit_with_their_limits(host: Report) -> None:
    said = lines(host, "03-limits")
    assert said[:4] == [str(64 << 20), "33", "50000 100000", "/stockade.slice/stockade-containers.service/ID"], said
    assert said[4:7] == ["/stockade.slice/stockade-containers.service/shims", str(48 << 20), "0"], said
    # systemd leaves them alone when it reads its units anew, and holds the slice's own limit.
    assert said[7:] == [str(64 << 20), "44", str(900 << 20), "/sys/fs/cgroup/stockade.slice"], said


def test_a_restart_and_a_kill_of_the_daemon_leave_containers_alone(host: Report) -> None:
    said = lines(host, "04-restart")
    assert said == ["restarted", "killed", "inactive", "7", "said", "exited 7", "goes on", "lines whole"], said


def test_names_and_ports_go_on_without_the_daemon(host: Report) -> None:
    said = lines(host, "04-then-network")
    assert said[0] == "/stockade.slice/stockade-containers.service/shims", said
    assert said[1:] == ["inactive", "a page", "1", "serves on", "a page"], said


def test_an_apparmor_profile_confines(host: Report) -> None:
    said = lines(host, "05-confined")
    assert said[0] == "stockade-test (enforce)", said
    assert "Permission denied" in said[1], said


def test_stopping_the_units_ends_everything(host: Report) -> None:
    said = lines(host, "06-stop")
    assert said[:4] == ["nobody serves", "0", "exited 137", "exited 137"], said
    assert said[4:] == ["44", "exited 137", "nobody serves", "inactive"], said


@pytest.mark.parametrize("step", ["08-left", "10-left"])
def test_an_uninstall_leaves_nothing(host: Report, step: str) -> None:
    if step == "08-left":
        said = lines(host, "07-uninstall")
        assert said[-5:] == ["inactive", "inactive", "inactive", "disabled", "disabled"], said
    assert lines(host, step) == ["nothing else"]


def test_without_units_systemd_is_asked_for_one(host: Report) -> None:
    said = lines(host, "09-on-demand")
    assert host.status("09-on-demand") == 0, said
    assert "0::/stockade.slice/stockade-containers.service/stockade-daemon" in said, said
    assert {"Transient=yes", "Delegate=yes", "ActiveState=active"} <= set(said), said
    assert [line for line in said if line.isdecimal()] == [str(64 << 20), str(32 << 20)], said
    assert [line for line in said if line.startswith(("running", "exited"))] == ["running 0", "exited 137"], said
