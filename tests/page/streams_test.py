"""Python's own and other clients of streams. Run by streams.test.mjs, against the daemon at $INGEST and $CLIENTS."""

import http.client
import json
import os
import unittest
import urllib.request

import requests
import sseclient

INGEST, CLIENTS = os.environ["INGEST"], os.environ["CLIENTS"]
DEADLINE = 120
LINES = {"Accept": "application/x-ndjson"}


def publish(agent, n):
    event = json.dumps({"type": "t", "agentId": agent, "n": n}).encode()
    with urllib.request.urlopen(f"http://{INGEST}/events", event, timeout=DEADLINE) as answer:
        assert json.load(answer)["accepted"] == 1


def blocks(lines):
    """The data of blocks, from an iterable of lines as text."""
    return (line[6:] for line in lines if line.startswith("data: "))


def with_sseclient(path):
    answer = requests.get(f"http://{CLIENTS}{path}", stream=True, timeout=DEADLINE)
    return answer, (event.data for event in sseclient.SSEClient(answer).events())


def with_iter_lines(path):
    answer = requests.get(f"http://{CLIENTS}{path}", stream=True, timeout=DEADLINE)
    return answer, blocks(answer.iter_lines(decode_unicode=True))


def with_iter_lines_of_json(path):
    answer = requests.get(f"http://{CLIENTS}{path}", stream=True, headers=LINES, timeout=DEADLINE)
    return answer, (line for line in answer.iter_lines() if line)


def with_urllib(path):
    answer = urllib.request.urlopen(f"http://{CLIENTS}{path}", timeout=DEADLINE)
    return answer, blocks(line.decode().rstrip("\n") for line in answer)


def with_http_client(path):
    connection = http.client.HTTPConnection(CLIENTS, timeout=DEADLINE)
    connection.request("GET", path)
    answer = connection.getresponse()

    def lines():
        while line := answer.readline():
            yield line.decode().rstrip("\n")

    return answer, blocks(lines())


class Streams(unittest.TestCase):
    def check(self, client, agent):
        """Each event must arrive before the next one is published: nothing pushes it out. Who waits in vain has a timeout."""
        answer, data = client(f"/sse?room=agent%3A{agent}")
        messages = map(json.loads, data)
        self.assertEqual([next(messages)["type"], next(messages)["type"]], ["welcome", "subscribed"])
        for n in range(1, 4):
            publish(agent, n)
            self.assertEqual(next(messages)["data"]["n"], n)
        answer.close()

    def test_requests_with_sseclient_gets_each_event_at_once(self):
        self.check(with_sseclient, "py1")

    def test_requests_gets_each_line_of_blocks_at_once(self):
        self.check(with_iter_lines, "py2")

    def test_requests_gets_each_line_of_json_at_once(self):
        self.check(with_iter_lines_of_json, "py3")

    def test_urllib_gets_each_event_at_once(self):
        self.check(with_urllib, "py4")

    def test_http_client_gets_each_event_at_once(self):
        self.check(with_http_client, "py5")


if __name__ == "__main__":
    unittest.main(verbosity=2)
