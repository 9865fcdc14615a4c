#!/usr/bin/env python3
"""A small agent that does real work and says what it does.

It walks a source tree, measures every text file, runs a few checks on what it finds, and reports all five built-in event
types while it works. Standard library only.

    cargo run --release                    # the daemon, in one terminal
    python3 examples/agent.py .            # the agent, in another

http://127.0.0.1:9999/ then shows the agent in `agent_states` and `agent:walker`, its figures in `performance_metrics`,
each run in `workflow_executions`, what it remembers in `memory_timeline`, and what it found wrong in `system_alerts`.

Other ways out: `--to unix:PATH` for a Unix socket, `--to -` for standard output. Exits 1 if the daemon refused a line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SKIPPED = {".git", "target", "node_modules", "__pycache__", ".venv"}
LARGEST = 1 << 20  # bytes of a file that is read


class Broadcast:
    """Lines to the daemon. Answers are read at the end, when the daemon has read everything."""

    def __init__(self, to: str) -> None:
        self.socket: socket.socket | None = None
        if to == "-":
            return
        if to.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(to.removeprefix("unix:"))
        else:
            host, port = to.rsplit(":", 1)
            self.socket = socket.create_connection((host.strip("[]"), int(port)))

    def send(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"type": kind, **fields}, separators=(",", ":")) + "\n"
        if self.socket is None:
            sys.stdout.write(line)
        else:
            self.socket.sendall(line.encode())

    def finish(self) -> int:
        """Ends the stream and returns how many lines were refused."""
        if self.socket is None:
            return 0
        self.socket.shutdown(socket.SHUT_WR)
        rejected = 0
        for line in self.socket.makefile(encoding="utf-8"):
            answer = json.loads(line)
            if "error" in answer:
                print(f"refused: {answer['error']}", file=sys.stderr)
            rejected = answer.get("rejected", rejected)
        self.socket.close()
        return rejected


class Agent:
    """One run over one tree."""

    def __init__(self, name: str, root: Path, out: Broadcast) -> None:
        self.name = name
        self.root = root
        self.out = out
        self.run = str(uuid.uuid4())
        self.begun = time.monotonic()
        self.lines: dict[str, int] = {}
        self.failed: list[str] = []

    def state(self, status: str, task: str = "") -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        elapsed = max(time.monotonic() - self.begun, 1e-3)
        fields: dict[str, Any] = {"currentTask": task} if task else {}
        self.out.send(
            "agent_state",
            agentId=self.name,
            status=status,
            resourceUsage={
                "cpu": round(100 * (usage.ru_utime + usage.ru_stime) / elapsed, 1),
                "memory": usage.ru_maxrss // 1024,
                "activeConnections": 0 if self.out.socket is None else 1,
            },
            metadata={"runId": self.run, "root": str(self.root)},
            **fields,
        )

    def metric(self, name: str, value: float, unit: str) -> None:
        self.out.send(
            "performance_metric", metricName=name, value=value, unit=unit, category="agent", agentId=self.name
        )

    def stage(self, stage: str, status: str, **fields: Any) -> None:
        self.out.send(
            "workflow_execution",
            workflowId="source-survey",
            executionId=self.run,
            stage=stage,
            status=status,
            agentId=self.name,
            **fields,
        )

    def remember(self, what: str, content: str, importance: float, tags: list[str]) -> None:
        self.out.send(
            "memory_timeline",
            memoryId=f"{self.run}/{what}",
            action="created",
            importance=importance,
            tags=tags,
            content=content,
            agentId=self.name,
        )

    def alert(self, severity: str, component: str, message: str, **details: Any) -> None:
        self.out.send("system_alert", severity=severity, component=component, message=message, details=details)

    def work(self) -> None:
        self.state("active")
        files = list(walk(self.root))
        self.survey(files)
        self.check_python([file for file in files if file.suffix == ".py"])
        self.ask_the_shell()
        seconds = round(time.monotonic() - self.begun, 3)
        self.stage("done", "failed" if self.failed else "completed", progress=100, result={"seconds": seconds})
        level = "warning" if self.failed else "info"
        self.alert(level, self.name, f"run ended, {len(self.failed)} checks failed", failed=self.failed[:10])
        self.state("idle")

    def survey(self, files: list[Path]) -> None:
        """Counts the lines of every text file."""
        self.state("busy", "counting lines")
        for index, file in enumerate(files, start=1):
            text = read(file)
            if text is None:
                continue
            name = str(file.relative_to(self.root))
            self.lines[name] = text.count("\n")
            if index % 25 == 0 or index == len(files):
                self.stage("survey", "running", progress=round(80 * index / len(files), 1))
        for name, count in sorted(self.lines.items(), key=lambda item: -item[1])[:5]:
            self.remember(name, f"{name} has {count} lines", min(1.0, count / 1000), ["file", Path(name).suffix or "none"])
        self.metric("files", len(self.lines), "count")
        self.metric("lines", sum(self.lines.values()), "count")

    def check_python(self, files: list[Path]) -> None:
        """Compiles every Python file; what does not compile is an alert."""
        self.state("busy", "checking Python files")
        for file in files:
            text = read(file)
            try:
                compile(text or "", str(file), "exec")
            except (SyntaxError, ValueError) as error:
                self.failed.append(str(file))
                self.alert("error", "python", f"{file} does not compile", reason=str(error))
        self.metric("python_files", len(files), "count")

    def ask_the_shell(self) -> None:
        """A few commands, timed."""
        for stage, command in {
            "disk": ["du", "-sk", str(self.root)],
            "kernel": ["uname", "-sr"],
            "users": ["sh", "-c", "ls -ld . | wc -c"],
        }.items():
            self.state("busy", " ".join(command))
            begun = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, cwd=self.root, check=False)
            self.metric(f"command_{stage}", round(1000 * (time.monotonic() - begun), 3), "ms")
            if done.returncode == 0:
                self.stage(stage, "completed", result=done.stdout.strip())
            else:
                self.failed.append(stage)
                self.stage(stage, "failed", error=done.stderr.strip()[:500])


def walk(root: Path) -> Iterator[Path]:
    """Every file of a tree, in order, without what tools put there."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - SKIPPED)
        yield from (Path(folder, name) for name in sorted(names))


def read(file: Path) -> str | None:
    """A file's text, or nothing if it is none."""
    try:
        if file.stat().st_size > LARGEST:
            return None
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=".", type=Path, help="the tree to look at")
    parser.add_argument("--to", default="127.0.0.1:9998", help="HOST:PORT, unix:PATH or -")
    parser.add_argument("--name", default="walker", help="the agent's id")
    options = parser.parse_args()
    try:
        out = Broadcast(options.to)
    except OSError as error:
        print(f"cannot reach {options.to}: {error} (is broadcastd running?)", file=sys.stderr)
        return 1
    Agent(options.name, options.root.resolve(), out).work()
    rejected = out.finish()
    if rejected:
        print(f"{rejected} lines were refused", file=sys.stderr)
    return 1 if rejected else 0


if __name__ == "__main__":
    sys.exit(main())
