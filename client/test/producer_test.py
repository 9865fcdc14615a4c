"""Tests of examples/broadcastd.py. Run by producer.test.mjs, against the daemon at $INGEST, $INGEST_UNIX and $CLIENTS."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse
import urllib.request
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
import broadcastd  # noqa: E402
from broadcastd import Producer  # noqa: E402

INGEST = os.environ["INGEST"]
WAYS = {"http": f"http://{INGEST}", "tcp": f"tcp://{INGEST}", "unix": "unix:" + os.environ["INGEST_UNIX"]}
DEADLINE = 60  # seconds; only ends a test that hangs, so that a busy machine never meets it


def until(what, look):
    end = time.monotonic() + DEADLINE
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.005)
    return found


class Hanging:
    """Accepts, reads, and says nothing."""

    def __init__(self, listener=None):
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.taken = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                return


class Answering(Hanging):
    """Answers requests with the given (status, body, headers), one after the other; notes the lines of each."""

    def __init__(self, *answers, listener=None):
        self.answers, self.bodies = list(answers), []
        super().__init__(listener)

    def run(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                length = 0
                while (line := file.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.bodies.append([json.loads(line) for line in file.read(length).splitlines()])
                count = len(self.bodies[-1])
                status, body, headers = self.answers.pop(0) if self.answers else (200, {"accepted": count, "rejected": 0}, "")
                text = json.dumps(body)
                connection.sendall(f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(text)}\r\n\r\n{text}".encode())


class Producers(unittest.TestCase):
    def make(self, **options):
        """A producer that waits for its daemon as long as the test does, unless the test is about its deadline."""
        producer = Producer(**{"deadline": DEADLINE, **options})
        self.addCleanup(lambda: producer.close(0))
        return producer

    def test_all_helpers_are_accepted(self):
        for way, to in WAYS.items():
            with self.subTest(way):
                errors = []
                producer = self.make(to=to, agent_id="python", on_error=errors.append)
                self.assertTrue(producer.broadcast_agent_state(status="busy", currentTask="t"))
                producer.broadcast_performance_metric({"metricName": "m", "value": 1})
                producer.broadcast_memory_timeline(memoryId="m", content="c", agentId=None)
                producer.broadcast_system_alert({"message": "m"}, severity="warning")
                producer.start_workflow("w", "one")
                producer.update_workflow_progress("w", "one", "parse", 40)
                producer.complete_workflow("w", executionId="one", result={"ok": True})
                producer.fail_workflow("w", "two", ValueError("broken"))
                self.assertTrue(producer.flush())
                self.assertEqual(errors, [])
                self.assertEqual(producer.stats(), {"queued": 0, "sent": 9, "rejected": 0, "dropped": 0, "lost": 0, "invalid": 0})

    def test_what_the_daemon_refused_is_counted_over_every_way(self):
        for way, to in WAYS.items():
            with self.subTest(way):
                errors = []
                producer = self.make(to=to, on_error=errors.append)
                for _ in range(30):
                    producer.broadcast_system_alert(message="m", severity="terrible")
                producer.broadcast_system_alert(message="m")
                self.assertTrue(producer.flush())
                # The producer reports errors after it has counted them.
                self.assertIn("severity", json.dumps(until("an error", lambda: errors)[0]))
                self.assertEqual(producer.stats(), {"queued": 0, "sent": 1, "rejected": 30, "dropped": 0, "lost": 0, "invalid": 0})

    def test_a_wrong_call_raises_a_type_error_that_shows_the_right_one(self):
        producer = self.make(to="http://127.0.0.1:1")
        groups = broadcastd.create_broadcast_integrations(producer)
        wrongs = [
            ("start_workflow(workflowId, executionId, agentId=None)", producer.start_workflow, [("w",), ("w", 7), (), ("w", "e", 7)]),
            ("update_workflow_progress(workflowId, executionId, stage, progress, agentId=None)", producer.updateWorkflowProgress, [("e", 40), ("w", "e", 50), ("w", "e", "s", "50"), ("w", "e", "s", float("nan"))]),
            ("complete_workflow(workflowId, executionId, result=None, agentId=None)", groups.workflowExecution.completeWorkflow, [("e", {"documents": 12}), ("e",)]),
            ("fail_workflow(workflowId, executionId, error, agentId=None)", producer.fail_workflow, [("e", ValueError("broken")), ("w", "e", None)]),
            ("broadcast_agent_state(agentId=…, status=…, currentTask=…), or with one dict", producer.broadcast_agent_state, [("busy",), (), ("42", "busy"), (["a"],)]),
            ("start_streaming(interval_ms=5000)", producer.start_streaming, [("5s",), (0,), (2**31,)]),
            ("report_agent_state_change(agentId, status, metadata=None)", groups.agentState.reportAgentStateChange, [("a",), ({"agentId": "a"},), ("a", "busy", "reading")]),
            ("track_memory_access(memoryId, importance, tags, agentId=None)", groups.memoryTimeline.trackMemoryAccess, [("m", "c", 0.5, []), ("m", 0.5, "tag")]),
            ("broadcast_service_health(serviceName, health, responseTime=None, details=None)", groups.healthMonitor.broadcastServiceHealth, [("db", "fine"), ("db", "healthy", "12")]),
            ("configure(to=…, agent_id=…, queue=…, queue_bytes=…, deadline=…, on_error=…)", broadcastd.configure, [("unix:ingest.sock",)]),
            ("create_broadcast_integrations(get_broadcast_service())", broadcastd.createBroadcastIntegrations, [(5,)]),
        ]
        for shown, call, all_values in wrongs:
            for values in all_values:
                with self.subTest(f"{shown} {values}"), self.assertRaises(TypeError) as raised:
                    call(*values)
                self.assertTrue(str(raised.exception).endswith(f"call {shown}"), raised.exception)
        self.assertEqual(producer.stats()["queued"], 0)

    def test_a_daemon_that_hangs_never_holds_up_the_caller(self):
        server = Hanging()
        producer = self.make(to=f"http://127.0.0.1:{server.port}", queue=1000)
        for n in range(20_000):
            producer.send({"type": "t", "n": n})
        stats = producer.stats()
        self.assertEqual((stats["sent"], stats["lost"]), (0, 0), "no call waited for the first batch to end")
        self.assertGreater(stats["dropped"], 15_000)
        self.assertLessEqual(stats["queued"], 1000)
        self.assertFalse(producer.flush(0.01))
        until("a connection", lambda: server.taken and server.taken.pop()).close()

    def test_a_batch_without_an_answer_is_lost_at_the_deadline(self):
        producer = self.make(to=f"http://127.0.0.1:{Hanging().port}", deadline=0.1)
        for n in range(10):
            producer.send({"type": "t", "n": n})
        until("a lost batch", lambda: producer.stats()["lost"] == 10)

    def test_what_did_not_arrive_is_sent_when_the_daemon_comes(self):
        # A bound socket keeps its port and refuses connections until it listens.
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        producer = self.make(to=f"http://127.0.0.1:{listener.getsockname()[1]}")
        for n in range(700):
            producer.send({"type": "t", "n": n})
        until("a failure", lambda: producer._failures)
        listener.listen()
        server = Answering(listener=listener)
        until("all", lambda: producer.stats()["sent"] == 700)
        self.assertEqual([event["n"] for body in server.bodies for event in body], list(range(700)))

    def test_a_daemon_without_room_is_sent_the_rest_again(self):
        errors = [{"line": 2, "code": "bad_field"}, {"line": 4, "code": "backlog_full"}]
        server = Answering((503, {"accepted": 2, "rejected": 4, "errors": errors}, "Retry-After: 0\r\n"))
        producer = self.make(to=f"http://127.0.0.1:{server.port}")
        for n in range(1, 7):
            producer.send({"type": "t", "n": n})
        until("the rest", lambda: producer.stats()["sent"] == 5)
        self.assertEqual([[event["n"] for event in body] for body in server.bodies], [[1, 2, 3, 4, 5, 6], [4, 5, 6]])
        self.assertEqual(producer.stats()["rejected"], 1)

    def test_a_listener_that_gives_no_answers_takes_what_counts_as_sent(self):
        server = Hanging()
        producer = self.make(to=f"tcp://127.0.0.1:{server.port}")
        for n in range(3):
            producer.send({"type": "t", "n": n})
            connection = until("a connection", lambda: server.taken and server.taken.pop())
            with connection, connection.makefile("rb") as lines:
                self.assertEqual([json.loads(line)["n"] for line in lines], [n])
            self.assertTrue(producer.flush())
        self.assertEqual(producer.stats()["sent"], 3)

    def test_the_oldest_is_dropped(self):
        producer = self.make(to="http://127.0.0.1:1", queue_bytes=1000)
        for n in range(10):
            producer.send({"type": "t", "n": n, "text": "x" * 300})
        self.assertLessEqual(producer.stats()["queued"], 3)
        # A batch that is being sent counts as neither until it is back in the queue.
        until("the drops", lambda: producer.stats()["dropped"] >= 7)

    def test_no_daemon_and_no_event_raise(self):
        def trouble(error):
            raise RuntimeError("the program's own")

        class Odd:
            def __str__(self):
                raise RuntimeError("no")

        producer = self.make(to="nonsense://[", on_error=trouble)
        circular = {"type": "t"}
        circular["self"] = circular
        for bad in (None, 7, "t", [], {}, {"type": 7}, circular, {"type": "t", "n": float("nan")}, {"type": "t", "odd": Odd()}, {"type": "t", (1, 2): 3}):
            self.assertFalse(producer.send(bad), bad)
        producer.fail_workflow("w", "e", Odd())
        self.assertFalse(producer.complete_workflow("w", "e", circular))
        self.assertEqual(producer.stats()["invalid"], 11)
        self.assertFalse(producer.flush(0.1))
        producer.close(0)
        self.assertFalse(producer.send({"type": "t"}))

    def test_a_signal_handler_may_send(self):
        producer = self.make(to="http://127.0.0.1:1")
        sent = []
        before = signal.signal(signal.SIGALRM, lambda *_: sent.append(producer.send({"type": "t"})))
        self.addCleanup(lambda: signal.signal(signal.SIGALRM, before))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        self.addCleanup(lambda: signal.setitimer(signal.ITIMER_REAL, 0))
        while len(sent) < 100:
            producer.send({"type": "t"})
        signal.setitimer(signal.ITIMER_REAL, 0)

    def run_program(self, program, to):
        environment = {**os.environ, "PYTHONPATH": str(EXAMPLES), "BROADCASTD_INGEST": to}
        done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=DEADLINE, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""), to)
        return done.stdout

    def test_a_program_that_ends_gives_its_last_events(self):
        program = "import broadcastd as b; b.start_streaming(10); b.broadcast_agent_state(status='idle', agentId='py-last')"
        # A program that its daemon keeps from ending meets the deadline.
        away = ("http://127.0.0.1:1", "tcp://127.0.0.1:1", "unix:/nowhere", f"http://127.0.0.1:{Hanging().port}")
        for to in (*WAYS.values(), *away):
            self.run_program(program, to)

    def test_a_fork_sends_for_itself(self):
        program = f"""
import os, broadcastd as b
b.configure(deadline={DEADLINE})
b.send({{"type": "t", "n": 1}})
b.flush()
child = os.fork()
for n in range(5): b.send({{"type": "t", "n": n}})
b.flush()
print(b.stats()["sent"])
if child: os.waitpid(child, 0)
"""
        said = self.run_program(program, WAYS["http"])
        self.assertEqual(sorted(said.split()), ["5", "6"])

    def test_every_method_is_a_function_under_both_of_its_names(self):
        def documented(name):
            head, *rest = name.split("_")
            return head + "".join(map(str.capitalize, rest))

        for name in [name for name in vars(Producer) if "_" in name[1:] and not name.startswith("_")]:
            self.assertIs(getattr(Producer, documented(name)), getattr(Producer, name))
            self.assertIs(getattr(broadcastd, documented(name)), getattr(broadcastd, name))
        for name in ("send", "flush", "close", "stats"):
            self.assertTrue(callable(getattr(broadcastd, name)), name)


if __name__ == "__main__":
    unittest.main()
