"""Load, a crowd and faults on loopback: latency at 50 requests a second, alone and under 2,000 idle and 500 slow
connections (in turns, on the same machine), then malformed, oversized, slow and killed.

Limits: p99 under the crowd at most twice the quiet one; p99 under 50 ms at 50 requests a second on an idle 2-core
machine with the 260k-parameter model; no well-formed request lost through 1,000 malformed ones, oversized bodies,
slow clients and a killed worker process; memory and open files of the server not growing. `spin` measures how busy
the machine is: CPU seconds of a fixed piece of work divided by its wall seconds (1.0 when idle); where it is below
0.8 the p99 says more about the machine than about the service (the crowd's process has no core of its own then), and a
miss is reported but does not fail the run. The short form's p99 are of 500 requests, so that one hiccup of the machine
makes them: it takes a turn that misses anew, twice, and says so.

    python benchmarks/bench_serve.py [--short] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import psutil

LIMIT = 2.0  # p99 under the crowd, by the quiet one
WORDS = [
    "the",
    "little",
    "girl",
    "went",
    "to",
    "a",
    "big",
    "park",
    "with",
    "her",
    "dog",
    "and",
    "saw",
    "how",
    "many",
    "red",
    "birds",
    "were",
    "there",
    "today",
]


def guard_folder(target: Path) -> tuple[Path, str]:
    """A guardrail on the real 260k model where CUTAWAY_DATA has it, else on random weights of its shape."""
    from cutaway.guard import Guardrail, save_guardrail

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 12)) + (" lock pick" if i % 2 else " bread") for i in range(160)]
    data = Path(os.environ.get("CUTAWAY_DATA", "")) / "stories260k"
    if not data.is_dir():
        print("not run: CUTAWAY_DATA does not name a folder with stories260k", file=sys.stderr)
        raise SystemExit(2)
    guard = Guardrail(str(data), rate=0.2).fit(texts, [i % 2 for i in range(160)])
    return save_guardrail(guard, target), "stories260k"


@contextlib.contextmanager
def server(folder: Path, workers: int):
    """The service as a process of its own; yields (port, psutil process)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from cutaway.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "guard",
        "serve",
        str(folder),
        "--port",
        str(port),
        "--workers",
        str(workers),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code == 200:
                    break
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.2)
        yield port, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


def spin() -> float:
    """CPU seconds over wall seconds of a fixed piece of work: how much of a core one gets."""
    wall, cpu = time.perf_counter(), time.process_time()
    total = 0
    for i in range(3_000_000):
        total += i
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


async def steady(port: int, rate: float, seconds: float) -> dict:
    """Requests at fixed times whatever the answers take (open loop); latency counts from the planned time."""
    rng = np.random.default_rng(1)
    latencies, failures = [], 0
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30) as client:
        start = asyncio.get_running_loop().time() + 0.2

        async def one(due: float, text: str) -> None:
            nonlocal failures
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            try:
                reply = await client.post("/v1/check", json={"prompt": text})
                failures += reply.status_code != 200
            except httpx.HTTPError:
                failures += 1
            latencies.append(asyncio.get_running_loop().time() - due)

        count = int(rate * seconds)
        texts = [" ".join(rng.choice(WORDS, 12)) for _ in range(count)]
        await asyncio.gather(*(one(start + i / rate, t) for i, t in enumerate(texts)))
    ordered = sorted(latencies)
    return {
        "requests": count, "rate": rate, "failures": failures, "median_ms": 1000 * statistics.median(ordered),
        "p99_ms": 1000 * ordered[int(0.99 * (count - 1))], "max_ms": 1000 * ordered[-1], "latencies": latencies,
    }  # fmt: skip


MALFORMED = [b"", b"{", b"\xff\xfe", b"[]", b'{"prompt": 1}', b'{"prompt": " "}', b'{"prompt": "\\ud800"}', b"[" * 5000]


async def hostile(port: int, malformed: int, kill) -> dict:
    """Malformed, oversized and slow requests and a killed worker, with well-formed requests all along."""
    lost, wrong = 0, 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:

        async def good(count: int) -> int:
            missed = 0
            for k in range(count):
                try:
                    reply = await client.post("/v1/check", json={"prompt": f"{WORDS[k % len(WORDS)]} story"})
                    missed += reply.status_code != 200
                except httpx.HTTPError:
                    missed += 1
                await asyncio.sleep(0.01)
            return missed

        async def bad(count: int) -> int:
            accepted = 0
            for k in range(count):
                reply = await client.post("/v1/check", content=MALFORMED[k % len(MALFORMED)])
                accepted += reply.status_code not in (400, 422)
            return accepted

        async def oversized() -> int:
            accepted = 0
            for _ in range(20):
                with contextlib.suppress(httpx.HTTPError):  # the server may hang up before all is sent
                    reply = await client.post("/v1/check", content=b'{"prompt": "' + b"a" * 3_000_000 + b'"}')
                    accepted += reply.status_code != 413
            return accepted

        async def slow() -> int:
            async def one() -> bool:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
                await writer.drain()
                line = await reader.readline()
                writer.close()
                return b" 408 " in line

            return 20 - sum(await asyncio.gather(*(one() for _ in range(20))))

        tasks = [asyncio.create_task(good(max(100, malformed // 2)))]
        wrong += sum(await asyncio.gather(bad(malformed), oversized()))
        crawl = asyncio.create_task(slow())
        kill()
        tasks.append(asyncio.create_task(good(50)))
        lost += sum(await asyncio.gather(*tasks))
        slow_missed = await crawl
        metrics = (await client.get("/metrics")).text
    restarts = [line for line in metrics.splitlines() if line.startswith("guard_worker_restarts_total")]
    waiting = next(line for line in metrics.splitlines() if line.startswith("guard_prompts_waiting"))
    return {
        "malformed": malformed, "wrongly_answered": wrong, "slow_clients_not_timed_out": slow_missed, "lost": lost,
        "restarts": float(restarts[0].split()[1]) if restarts else 0.0, "waiting_after": float(waiting.split()[1]),
    }  # fmt: skip


@contextlib.contextmanager
def crowd(port: int, idle: int, slow: int):
    """Idle and slow connections held by a process of their own; yields a dict that has the counts afterwards."""
    command = [sys.executable, str(Path(__file__).with_name("serve_crowd.py")), str(port), str(idle), str(slow)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    counts: dict = {}
    try:
        process.stdout.readline()
        yield counts
        process.stdin.close()
        counts |= json.loads(process.stdout.readline() or "{}")
    finally:
        process.kill()
        process.wait()


def crowded(port: int, seconds: float, rounds: int, idle: int = 2000, slow: int = 500) -> dict:
    """Latencies alone and under a crowd, in turns; p99 of each and their ratio, and the CPU seconds of the server."""
    found: dict[str, list[float]] = {"quiet": [], "crowd": []}
    failures, counts = 0, []
    for _ in range(rounds):
        alone = asyncio.run(steady(port, 50, seconds))
        with crowd(port, idle, slow) as opened:
            among = asyncio.run(steady(port, 50, seconds))
            health = httpx.get(f"http://127.0.0.1:{port}/health", timeout=10).status_code
        found["quiet"] += alone["latencies"]
        found["crowd"] += among["latencies"]
        failures += alone["failures"] + among["failures"] + (health != 200)
        counts.append(opened)
    p99 = {name: 1000 * float(np.quantile(values, 0.99)) for name, values in found.items()}
    median = {name: 1000 * float(np.median(values)) for name, values in found.items()}
    return {
        "idle": idle, "slow": slow, "requests": len(found["crowd"]), "failures": failures, "p99_ms": p99,
        "median_ms": median, "ratio": p99["crowd"] / p99["quiet"], "connections": counts,
    }  # fmt: skip


def footprint(process: psutil.Process) -> dict:
    """Resident memory in MB and open files of the server."""
    return {"memory_mb": process.memory_info().rss / 2**20, "files": process.num_fds()}


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and return 1 where a limit is missed by a clear margin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found: dict = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, found["model"] = guard_folder(Path(scratch) / "guard")
        found["spin"] = [spin()]
        with server(folder, 0) as (port, process):
            asyncio.run(steady(port, 50, 3))
            before = footprint(process)
            found["load"] = asyncio.run(steady(port, 50, 5 if options.short else 60))
            found["load"].pop("latencies")
            found["growth"] = {k: footprint(process)[k] - v for k, v in before.items()}
            found["crowd"] = crowded(port, 10 if options.short else 20, 1 if options.short else 3)
            while options.short and found["crowd"]["ratio"] > LIMIT and len(found.setdefault("again", [])) < 2:
                found["again"].append(found["crowd"])
                found["crowd"] = crowded(port, 10, 1)
        found["spin"].append(spin())
        with server(folder, 1) as (port, process):
            asyncio.run(steady(port, 20, 2))
            before = footprint(process)

            def kill() -> None:
                forked = [c for c in process.children() if "forkserver" in " ".join(c.cmdline())]
                forked[0].children()[0].kill()

            found["faults"] = asyncio.run(hostile(port, 200 if options.short else 1000, kill))
            found["faults"]["growth"] = {k: footprint(process)[k] - v for k, v in before.items()}
    found["missed"], found["excused"] = judged(found)
    print(json.dumps(found) if options.json else words(found))
    return 1 if found["missed"] else 0


def judged(found: dict) -> tuple[list[str], list[str]]:
    """(limits missed, limits missed on a machine that was too busy to tell)."""
    missed, excused = [], []
    idle = min(found["spin"]) >= 0.8
    if found["load"]["p99_ms"] > 50:
        (missed if idle else excused).append(f"p99 is {found['load']['p99_ms']:.0f} ms, the limit 50 ms")
    faults, among = found["faults"], found["crowd"]
    if among["ratio"] > LIMIT:
        told = ", ".join(f"{turn['ratio']:.2f}" for turn in [*found.get("again", []), among])
        (missed if idle else excused).append(f"p99 under the crowd is {told} times the quiet one, the limit {LIMIT:g}")
    if (
        among["failures"]
        or found["load"]["failures"]
        or faults["lost"]
        or faults["wrongly_answered"]
        or faults["waiting_after"]
    ):
        missed.append("well-formed requests were lost, or malformed ones answered")
    if not faults["restarts"] or faults["slow_clients_not_timed_out"]:
        missed.append("the killed worker or the slow clients were not noticed")
    if max(found["growth"]["memory_mb"], faults["growth"]["memory_mb"]) > 100 or faults["growth"]["files"] > 20:
        missed.append("memory or open files grow")
    return missed, excused


def words(found: dict) -> str:
    """The result for people."""
    load, faults, among = found["load"], found["faults"], found["crowd"]
    lines = [
        f"{found['model']}: {load['requests']} requests at {load['rate']:g}/s: median {load['median_ms']:.1f} ms, "
        f"p99 {load['p99_ms']:.1f} ms, max {load['max_ms']:.1f} ms, {load['failures']} failed",
        f"share of a core to be had before and after: {[round(x, 2) for x in found['spin']]}",
        f"growth: {found['growth']}",
        f"{among['idle']} idle and {among['slow']} slow connections: p99 {among['p99_ms']['crowd']:.1f} ms, alone "
        f"{among['p99_ms']['quiet']:.1f} ms ({among['ratio']:.2f}x), {among['failures']} failed",
        f"connections of the crowd: {among['connections']}",
        f"faults: {faults}",
    ]
    lines += [f"a turn before it: {turn['ratio']:.2f}x" for turn in found.get("again", [])]
    lines += [f"MISSED: {x}" for x in found["missed"]]
    lines += [f"missed on a busy machine: {x}" for x in found["excused"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
