"""What tests/systemd/run sees to inside the virtual machine: broadcastd's package and units under a real systemd.

Prints a line for each check, and closes with counts. Standard library alone.
"""

import base64
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

CONFIG = "/etc/broadcastd/broadcast.toml"
DROP_INS = "/etc/systemd/system/broadcastd.service.d"
EXAMPLES = "/usr/share/doc/broadcastd/examples/drop-ins"
SOCKETS = ["broadcastd-clients.socket", "broadcastd-admin.socket", "broadcastd-ingest.socket"]
ALERT = b'{"type":"system_alert","severity":"info","component":"test","message":"%d"}\n'
counts = {True: 0, False: 0}


def check(what, condition, seen=""):
    counts[bool(condition)] += 1
    print(f"{'ok' if condition else 'not ok'} - {what}", flush=True)
    if not condition:
        for line in str(seen).splitlines()[-30:]:
            print(f"    {line}", flush=True)


def run(*command, user=None):
    """Runs a command; its exit code and what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, user=user,
                          extra_groups=None if user is None else os.getgrouplist(user, 65534))
    return done.returncode, done.stdout


def systemctl(*arguments):
    return run("systemctl", "--no-pager", *arguments)


def shown(what, unit="broadcastd.service"):
    return systemctl("show", "--value", "-p", what, unit)[1].strip()


def until(condition, seconds=60):
    """Waits until something holds; whether it does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def drop_in(name, text):
    os.makedirs(DROP_INS, exist_ok=True)
    with open(f"{DROP_INS}/{name}", "w") as file:
        file.write(text)


def shipped(name):
    with open(f"{EXAMPLES}/{name}") as file:
        drop_in(name, file.read())


def configure(change):
    with open(CONFIG) as file:
        text = file.read()
    with open(CONFIG + ".new", "w") as file:
        file.write(change(text))
    os.rename(CONFIG + ".new", CONFIG)
    return text


def journal(*arguments):
    run("journalctl", "--sync")
    text = run("journalctl", "--no-pager", "-u", "broadcastd", "-o", "json", *arguments)[1]
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def health():
    return run("curl", "-sS", "--max-time", "5", "http://127.0.0.1:9997/api/v1/health")


def metric(name):
    for line in run("curl", "-sS", "--max-time", "5", "http://127.0.0.1:9997/metrics")[1].splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    return 0.0


def publish(number, to=("127.0.0.1", 9998)):
    """Writes an event as a producer does, and returns the closing answer."""
    with socket.create_connection(to, timeout=30) as connection:
        connection.sendall(ALERT % number)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile().read()


class Client:
    """A WebSocket client that subscribes to the alerts."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", 9999), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws?room=system_alerts HTTP/1.1\r\nHost: 127.0.0.1:9999\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.reader = self.socket.makefile("rb")
        while self.reader.readline() != b"\r\n":
            pass
        self.until(lambda message: message["type"] == "subscribed")

    def until(self, condition):
        """Reads messages until one is wanted."""
        while True:
            first, length = self.reader.read(2)
            if length == 126:
                length = int.from_bytes(self.reader.read(2), "big")
            payload = self.reader.read(length)
            if first & 15 == 8:
                raise EOFError(f"closed: {payload!r}")
            if first & 15 == 1 and condition(json.loads(payload)):
                return json.loads(payload)

    def sees(self, number):
        self.until(lambda message: message["type"] == "event" and message["data"].get("message") == str(number))
        return True


class Connecting(threading.Thread):
    """Connects and publishes again and again; counts what was refused, and what was not accepted."""

    def __init__(self):
        super().__init__(daemon=True)
        self.done, self.tried, self.failed = False, 0, []
        self.start()

    def run(self):
        while not self.done:
            self.tried += 1
            for port in (9998, 9999, 9997):
                try:
                    if port == 9998:
                        answer = publish(self.tried)
                        if '"accepted":1' not in answer:
                            self.failed.append(f"{port}: {answer!r}")
                    else:
                        socket.create_connection(("127.0.0.1", port), timeout=30).close()
                except OSError as error:
                    self.failed.append(f"{port}: {error}")

    def end(self):
        self.done = True
        self.join(60)


def installing():
    before = set(os.listdir("/run"))
    code, said = run("dpkg", "-i", "/broadcastd.deb")
    check("the package installs", code == 0, said)
    check("and the service runs", shown("ActiveState") == "active", systemctl("status", "broadcastd")[1])
    check("and says how it is", until(lambda: "serving 0 clients" in shown("StatusText"), 10), shown("StatusText"))
    check("and is well", '"status":"healthy"' in health()[1], health()[1])
    return before


def sandbox():
    pid = shown("MainPID")
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    check("a filter of system calls is on", status["Seccomp"].strip() == "2", status)
    check("it cannot gain rights, and has none", (status["NoNewPrivs"].strip(), int(status["CapEff"], 16)) == ("1", 0), status)
    check("it is no root", status["Uid"].split()[0] not in ("0",), status)
    check("its root is read-only", run("nsenter", "-t", pid, "-m", "touch", "/etc/written")[0] != 0)
    client = Client()
    check("an event is taken", '"accepted":1' in publish(1))
    check("and arrives", client.sees(1))
    write = "import socket,sys; s = socket.socket(socket.AF_UNIX); s.connect('/run/broadcastd/ingest.sock'); s.sendall(b'%s'); " \
            "s.shutdown(1); print(s.makefile().read())" % (ALERT % 2).decode().strip().join(["", "\\n"])
    run("useradd", "backend")
    code, said = run("python3", "-c", write, user="backend")
    check("a stranger may not write to the socket", code != 0 and "PermissionError" in said, said)
    run("usermod", "-aG", "broadcastd-ingest", "backend")
    code, said = run("python3", "-c", write, user="backend")
    check("who has the group may", '"accepted":1' in said, said)
    check("and that arrives", client.sees(2))
    code, said = run("broadcastd", "doctor", "--config", CONFIG, "--as", "backend")
    check("the doctor finds nothing wrong", code == 0 and "backend may write" in said and "runs this configuration" in said, said)
    check("the sandbox has refused nothing", not [line for line in journal() if "perm" in str(line["MESSAGE"]).lower()], journal())


def logging():
    run("sh", "-c", "printf 'bad\\n' | curl -s --data-binary @- http://127.0.0.1:9998/events")
    until(lambda: any(entry["MESSAGE"] == "line refused" for entry in journal()), 10)
    entry = next((entry for entry in journal() if entry["MESSAGE"] == "line refused"), {})
    check("the journal has the log's fields", (entry.get("CODE"), entry.get("LINE"), entry.get("PRIORITY")) == ("bad_json", "1", "4"), entry)
    check("and whose they are", entry.get("_SYSTEMD_UNIT") == "broadcastd.service", entry)


def reloading():
    invocation = shown("InvocationID")
    before = configure(lambda text: text.replace("[admin]", "[limits]\nclients = 77\n\n[admin]"))
    code, said = systemctl("reload", "broadcastd")
    check("a reload of a good file succeeds", code == 0, said + systemctl("status", "broadcastd")[1])
    in_force = json.loads(run("curl", "-s", "http://127.0.0.1:9997/api/v1/config")[1])["keys"]
    check("and it is in force", in_force["limits.clients"] == "77", in_force)
    configure(lambda text: text.replace("clients = 77", "clients = 0"))
    code, said = systemctl("reload", "broadcastd")
    check("a reload of a bad file fails", code != 0, said)
    found = [entry["MESSAGE"] for entry in journal("--since=-1min")]
    check("and the journal says why", any("limits.clients" in str(line) for line in found), found)
    configure(lambda _: before)
    check("the next good one succeeds", systemctl("reload", "broadcastd")[0] == 0)
    check("and it was one daemon all the time",
          (shown("ActiveState"), shown("InvocationID")) == ("active", invocation), shown("ActiveState"))


def stopping():
    client = Client()
    code, said = systemctl("restart", "broadcastd")
    check("a restart succeeds", code == 0 and shown("ActiveState") == "active", said)
    try:
        client.until(lambda message: message["type"] == "closing")
        check("and clients are told", True)
        client.until(lambda _: False)
    except EOFError as closed:
        check("and closed with 1001", "\\x03\\xe9" in str(closed), closed)
    check("within the time a drain may take", shown("Result") == "success", shown("Result"))
    before = configure(lambda text: text + "\n[limits]\nclients = 0\n")
    check("with a bad file it does not start", systemctl("restart", "broadcastd")[0] != 0)
    check("and is not tried again", shown("ActiveState") == "failed" and shown("NRestarts") == "0",
          (shown("ActiveState"), shown("NRestarts")))
    configure(lambda _: before)
    check("with a good one it does", systemctl("restart", "broadcastd")[0] == 0)


def machine():
    before = configure(lambda text: text.replace('every = "off"', 'every = "1s"'))
    check("without its drop-in the machine's metrics do no harm",
          systemctl("reload", "broadcastd")[0] == 0 and '"status":"healthy"' in health()[1])
    shipped("system-metrics.conf")
    systemctl("daemon-reload")
    systemctl("restart", "broadcastd")
    check("with it they come", until(lambda: metric("broadcastd_own_events_total") > 8, 20), health()[1])
    os.remove(f"{DROP_INS}/system-metrics.conf")
    configure(lambda _: before)
    systemctl("daemon-reload")
    systemctl("restart", "broadcastd")


def reap(task):
    wall = 0x40000000
    while os.WIFSTOPPED(os.waitpid(task, wall)[1]):
        pass


def stop_one_shard(pid):
    """Stops one thread of a process with ptrace, and holds it until that process is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as file:
            if file.read().startswith("shard-"):
                seize, interrupt = 0x4206, 0x4207
                done = libc.ptrace(seize, int(task), None, None) == 0 and libc.ptrace(interrupt, int(task), None, None) == 0
                # Who traces a thread hears of its end first; until it has listened, the process does not end.
                threading.Thread(target=reap, args=(int(task),), daemon=True).start()
                return done or os.strerror(ctypes.get_errno())
    return "there is no shard"


def watchdog():
    drop_in("watchdog.conf", "[Service]\nWatchdogSec=3s\n")
    systemctl("daemon-reload")
    systemctl("restart", "broadcastd")
    time.sleep(7)
    check("a daemon whose shards turn is left alone", shown("NRestarts") == "0", shown("NRestarts"))
    pid = shown("MainPID")
    begun = time.monotonic()
    stopped = stop_one_shard(pid)
    check("one shard is stopped", stopped is True, stopped)
    found = until(lambda: shown("NRestarts") == "1" and shown("ActiveState") == "active", 30)
    took = time.monotonic() - begun
    check(f"and systemd starts it anew ({took:.1f} s)", found, systemctl("status", "broadcastd")[1])
    found = [entry.get("MESSAGE") for entry in json_journal_of_systemd()]
    check("because of its watchdog", any("Watchdog timeout" in str(line) for line in found), found)
    os.remove(f"{DROP_INS}/watchdog.conf")
    systemctl("daemon-reload")
    systemctl("restart", "broadcastd")


def json_journal_of_systemd():
    text = run("journalctl", "--no-pager", "-o", "json", "UNIT=broadcastd.service", "--since=-2min")[1]
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def activation():
    systemctl("stop", "broadcastd")
    shipped("sockets.conf")
    systemctl("daemon-reload")
    code, said = systemctl("enable", "--now", *SOCKETS)
    check("systemd's sockets are bound", code == 0, said)
    check("and nothing runs", shown("ActiveState") != "active", shown("ActiveState"))
    check("a connection starts the service", '"accepted":1' in publish(3) and shown("ActiveState") == "active",
          systemctl("status", "broadcastd")[1])
    client = Client()
    publish(4)
    check("an event arrives", client.sees(4))
    with open(f"/proc/{shown('MainPID')}/net/dev") as file:
        check("it has no network of its own", [line.split(":")[0].strip() for line in file][2:] == ["lo"])
    refused = run("python3", "-c", "import socket; socket.socket(socket.AF_UNIX).connect('/run/broadcastd-ingest.sock')", user="nobody")
    check("the ingest socket is not for strangers", refused[0] != 0 and "PermissionError" in refused[1], refused[1])
    refused = run("python3", "-c", "import socket; socket.socket(socket.AF_UNIX).connect('/run/broadcastd-admin.sock')", user="backend")
    check("the operators' is not for producers", refused[0] != 0 and "PermissionError" in refused[1], refused[1])
    before = configure(lambda text: text.replace("[admin]", "[limits]\nclients = 78\n\n[admin]"))
    code, said = systemctl("reload", "broadcastd")
    check("a reload of a good file succeeds", code == 0, said + systemctl("status", "broadcastd")[1])
    configure(lambda text: text.replace('listen          = ["127.0.0.1:9999"]', 'listen = ["127.0.0.1:9999", "127.0.0.1:9995"]'))
    code, said = systemctl("reload", "broadcastd")
    check("one that adds a listener fails", code != 0, said)
    found = [entry["MESSAGE"] for entry in journal("--since=-1min")]
    check("by name, with old and new",
          any("`server.listen` cannot be changed while its sockets come from systemd" in str(line) and "9995" in str(line) for line in found), found)
    configure(lambda _: before)
    check("the next good one succeeds", systemctl("reload", "broadcastd")[0] == 0)
    code, said = run("broadcastd", "doctor", "--config", CONFIG)
    check("the doctor finds nothing wrong", code == 0 and "runs this configuration" in said, said)
    without_refusal("a restart refuses nobody", lambda: systemctl("restart", "broadcastd"))
    without_refusal("an upgrade refuses nobody", lambda: run("dpkg", "-i", "/broadcastd.deb"))
    pid = shown("MainPID")
    without_refusal("nor does a crash", lambda: (os.kill(int(pid), 9), until(lambda: shown("MainPID") not in (pid, "0"))), accepted=False)


def without_refusal(what, act, accepted=True):
    """While something happens to the service, connections come; none is refused, and what they send is accepted."""
    connecting = Connecting()
    until(lambda: connecting.tried > 20)
    pid = shown("MainPID")
    done = act()
    until(lambda: shown("ActiveState") == "active" and shown("MainPID") != pid)
    seen = connecting.tried
    until(lambda: connecting.tried > seen + 20)
    connecting.end()
    # What a daemon that is killed had taken and not answered is lost; a connection is not.
    failed = [line for line in connecting.failed if accepted or "refused" in line]
    check(f"{what} ({connecting.tried} rounds)", not failed and shown("MainPID") != pid, f"{failed[:5]} {done}")


def removing(run_before):
    code, said = run("dpkg", "-P", "broadcastd")
    check("the package is purged", code == 0, said)
    check("the service is gone", shown("ActiveState") == "inactive" and shown("LoadState") == "not-found", systemctl("status", "broadcastd")[1])
    for port in (9997, 9998, 9999):
        with socket.socket() as probe:
            check(f"nobody listens at {port}", probe.connect_ex(("127.0.0.1", port)) != 0)
    left = [name for name in set(os.listdir("/run")) - run_before if "broadcastd" in name]
    check("nothing is left in /run", not left, left)
    check("nor of the user and the group", not re.search("broadcastd", open("/etc/passwd").read() + open("/etc/group").read()))
    check("nor in /etc but the operator's drop-ins", run("sh", "-c", "find /etc -name '*broadcastd*'")[1].split() == [DROP_INS],
          run("sh", "-c", "find /etc -name '*broadcastd*'")[1])


def main():
    print(f"# {run('systemctl', '--version')[1].splitlines()[0]}, Linux {os.uname().release}", flush=True)
    try:
        before = installing()
        for step in (sandbox, logging, reloading, stopping, machine, watchdog, activation):
            print(f"# {step.__name__}", flush=True)
            step()
        removing(before)
    except Exception as error:  # the counts must come, whatever happens
        import traceback
        check("every step was made", False, traceback.format_exc())
    failed = systemctl("list-units", "--failed", "--plain", "--no-legend")[1]
    check("no unit has failed", "broadcastd" not in failed, failed)
    print(f"# pass {counts[True]}\n# fail {counts[False]}", flush=True)


main()
