#!/bin/sh
# The guest's first process. The kernel's own first root cannot be pivoted, so everything moves to another one first: to the
# disk of a system of its own, whose first process then calls `/init steps`, or to a tmpfs. There each program in /steps
# runs and its status goes to the serial line.
steps() {
    exec </dev/null >/dev/ttyS0 2>&1
    read -r up _ < /proc/uptime
    echo "GUEST up after $up s, $(uname -r)"
    for step in /steps/*; do
        name=${step##*/}
        echo "GUEST $name begins"
        "$step"
        echo "GUEST $name $?"
    done
    /bin/busybox poweroff -f
}
load() {
    for module in /modules/*.ko; do insmod "$module" || echo "insmod $module failed"; done
}
[ "$1" != steps ] || steps
if [ "$1" != moved ]; then
    mkdir /new
    mount -t devtmpfs dev /dev
    load
    if [ -e /dev/vda ]; then
        mount -t ext4 /dev/vda /new
        umount /dev
        exec switch_root /new /usr/lib/systemd/systemd
    fi
    umount /dev
    mount -t tmpfs -o mode=755 root /new
    cp -a /bin /steps /init /etc /root /new
    for folder in /bundle /share /usr /lib /lib64 /opt; do [ ! -e $folder ] || cp -a $folder /new; done
    mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/run
    exec switch_root /new /init moved
fi
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
steps
