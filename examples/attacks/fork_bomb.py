"""Doubles itself until something says no; the first process tells what said no."""

import errno
import os
import time

FIRST = os.getpid()

children = 0
refusal = None
deadline = time.monotonic() + 1.5
while time.monotonic() < deadline:
    try:
        if os.fork():
            children += 1
        else:
            children = 0
    except OSError as error:
        refusal = error
        if os.getpid() != FIRST:
            time.sleep(0.05)
        elif children:
            break
if os.getpid() == FIRST:
    why = errno.errorcode[refusal.errno] if refusal and refusal.errno else "nothing"
    running = sum(name.isdigit() for name in os.listdir("/proc"))
    print(f"{running} processes live, then fork: {why}", flush=True)
time.sleep(1)
