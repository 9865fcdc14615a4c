#!/usr/bin/env python3
"""A service beside the daemon: does a piece of work every second, and says so. README.md beside this file."""

import hashlib
import signal
import sys
import threading
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where broadcastd.py is in this repository; installed, it is beside this file
import broadcastd

over = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: over.set())

broadcastd.configure(agent_id="backend")
while not over.is_set():
    broadcastd.broadcast_agent_state(status="busy", currentTask="hashing")
    run = str(uuid.uuid4())
    broadcastd.start_workflow("tick", run)
    digest = hashlib.sha256(b"x" * 10_000_000).hexdigest()
    broadcastd.complete_workflow("tick", run, {"digest": digest})
    broadcastd.broadcast_agent_state(status="idle")
    over.wait(1)
broadcastd.broadcast_agent_state(status="offline")
broadcastd.close()
