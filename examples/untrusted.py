"""A script from somebody you do not know. It does honest work here, but who can tell before it has run?

stockade do --memory 256m --cpus 1 --pids-limit 64 --time-limit 20s -- python3 examples/untrusted.py
"""

import hashlib
import os
import socket
import time


def primes_below(limit: int) -> list[int]:
    """The sieve of Eratosthenes: processor time and memory, as honest work uses them."""
    sieve = bytearray([1]) * limit
    sieve[0:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return [number for number in range(limit) if sieve[number]]


def main() -> None:
    """Work, then say where it believes to be."""
    started = time.monotonic()
    primes = primes_below(2_000_000)
    digest = hashlib.sha256(repr(primes).encode()).hexdigest()
    print(f"{len(primes):,} primes below two million, digest {digest[:16]}…, in {time.monotonic() - started:.2f} s")

    with open("/proc/self/uid_map", encoding="ascii") as file:
        outside = file.read().split()[1]
    processes = sum(name.isdigit() for name in os.listdir("/proc"))
    networks = ", ".join(name for _, name in socket.if_nameindex())
    host = socket.gethostname()
    print(f"I am user {os.getuid()} here, {outside} outside; process {os.getpid()} of {processes} on {host}")
    print(f"network: {networks}; home: {os.listdir('/root') or 'empty'}; other homes: {os.listdir('/home') or 'none'}")

    with open("primes.txt", "w", encoding="ascii") as file:
        file.writelines(f"{prime}\n" for prime in primes)
    print("I wrote primes.txt into your directory (you decide whether it stays)")


main()
