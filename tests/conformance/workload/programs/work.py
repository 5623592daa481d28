"""Processes, threads, an event loop, a database and archives of one Python program; checked by the suite."""

import asyncio
import concurrent.futures
import hashlib
import io
import json
import multiprocessing
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile


def square(number):
    return number * number


async def echo():
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\n")
    line = await reader.readline()
    writer.close()
    server.close()
    return line.decode().strip()


def main():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print("pool", sum(pool.map(square, range(100))))
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        print("threads", sum(threads.map(square, range(100))))
    print("loop", asyncio.run(echo()))
    place = pathlib.Path(tempfile.mkdtemp())
    base = sqlite3.connect(place / "base")
    base.execute("pragma journal_mode=wal")
    with base:
        base.execute("create table t(n integer)")
        base.executemany("insert into t values (?)", [(n,) for n in range(1000)])
    print("database", base.execute("select sum(n) from t").fetchone()[0])
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        archive.add(place / "base", "base")
    data.seek(0)
    print("archive", tarfile.open(fileobj=data).getnames())
    print("digest", hashlib.sha256(b"stockade").hexdigest()[:16])
    print("child", subprocess.run(["sh", "-c", "exit 6"]).returncode)
    print("json", json.loads(json.dumps({"ü": [1.5, None, True]})))
    signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    sys.exit(29)


main()
