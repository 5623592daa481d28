"""Never ends, and does not listen to those who ask it to."""

import signal

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
print("looping", flush=True)
while True:
    pass
