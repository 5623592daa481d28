#!/bin/sh
# The guest's first process. The kernel's own first root cannot be pivoted, so everything moves to a tmpfs first; then each
# program in /steps runs and its status goes to the serial line.
if [ "$1" != moved ]; then
    mkdir /new
    mount -t tmpfs -o mode=755 root /new
    cp -a /bin /modules /steps /init /etc /root /new
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
for module in /modules/*.ko; do insmod "$module" || echo "insmod $module failed"; done
exec </dev/null >/dev/ttyS0 2>&1
read -r up _ < /proc/uptime
echo "GUEST up after $up s, $(uname -r)"
for step in /steps/*; do
    name=${step##*/}
    echo "GUEST $name begins"
    "$step"
    echo "GUEST $name $?"
done
poweroff -f
