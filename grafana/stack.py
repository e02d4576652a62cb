"""A broker, a Prometheus and, where installed, a Grafana on loopback, with a folder of their own.

`with Stack(hawker) as stack:` starts the first two; at the end every process is stopped and the
folder is gone.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# Where `make clients` unpacks a Prometheus, if the system has none.
UNPACKED = HERE.parent / "tests/clients/prometheus/usr"
# A certificate and its key.
TLS = HERE.parent / "tests/support/tls"
os.environ["PATH"] += f":{UNPACKED / 'bin'}"
# When a start or a stop that has not happened counts as never.
PATIENCE_S = 60
PASSWORD = "correct horse"

# Limits so small that the scenes of `load.py` reach them.
CONFIGURATION = """
shards = 2
data_dir = "{folder}/data"
admin = "127.0.0.1:0"

[[listeners]]
address = "tcp://127.0.0.1:0"

[[listeners]]
name = "narrow"
address = "tcp://127.0.0.1:0"
connections_max = 1

[[listeners]]
name = "crowded"
address = "tcp://127.0.0.1:0"
handshakes_max = 2
connections_per_s_max = 50

[[listeners]]
name = "proxied"
address = "tcp://127.0.0.1:0"
proxy_from = ["127.0.0.1"]

[[listeners]]
name = "secure"
address = "tls://127.0.0.1:0"
certificate = "{tls}/certificate.pem"
key = "{folder}/key.pem"
client_ca = "{tls}/fleet/fleet.pem"
client_crl = "{tls}/fleet/bob-revoked.pem"
client_certificate_optional = true

[mqtt]
anonymous_allowed = true
connect_timeout_ms = 8000
connect_memory_bytes_max = 1048576
queue_messages_max = 10
queue_policy = "{queue_policy}"
outbox_bytes_max = 4096
retained_messages_max = 4

[storage]
segment_bytes = 65536
log_bytes_max = 524288

[auth]
password_file = "{folder}/passwords"
ban_failures = 2
ban_s = 3

[[auth.rules]]
publish = ["#"]
subscribe = ["#"]
deny_publish = ["secret/#"]
deny_subscribe = ["secret/#"]

[[auth.rules]]
client_ids = ["flood"]
messages_per_s_max = 100
"""


class Missing(Exception):
    """A program that is not installed, and how to get it."""


class Stack:
    """The processes, in the order they were started."""

    def __init__(self, hawker, scrape_interval="1s"):
        self.hawker = str(pathlib.Path(hawker).resolve())
        self.scrape_interval = scrape_interval
        self.processes = []
        self.password = PASSWORD

    def __enter__(self):
        if not pathlib.Path(self.hawker).is_file():
            raise Missing(f"there is no broker at {self.hawker}: make build")
        if not shutil.which("prometheus"):
            raise Missing("Prometheus is missing: make clients")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hawker-observe-"))
        try:
            self._start_broker()
            self._start_prometheus()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder)

    def log(self, name):
        """What a process has said so far."""
        return (self.folder / f"{name}.log").read_text()

    def reload(self, queue_policy, says="configuration reloaded"):
        """Has the broker read its configuration with another policy."""
        before = self.log("hawker").count(says)
        self._configure(queue_policy)
        self.processes[0].send_signal(signal.SIGHUP)
        self._until(lambda: self.log("hawker").count(says) > before, "hawker")

    def scrape(self):
        """The broker's metrics as it shows them."""
        return fetch(f"http://{self.admin}/metrics").decode()

    def ask(self, path, **parameters):
        """What the HTTP API of Prometheus answers; its refusal is a ValueError."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            answer = fetch(f"http://{self.prometheus}/api/v1/{path}?{query}")
        except urllib.error.HTTPError as error:
            answer = error.read()
        answer = json.loads(answer)
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return answer["data"]

    def _start_broker(self):
        passwords = self.folder / "passwords"
        subprocess.run([self.hawker, "passwd", "add", passwords, "ann"], check=True, text=True,
                       input=f"{PASSWORD}\n", stdout=subprocess.DEVNULL)
        self._configure("drop-oldest")
        # What the caller's environment says about a broker is about another one.
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("HAWKER_")}
        self._start("hawker", [self.hawker, "run", "-c", self.folder / "hawker.toml"], environment)
        self._until(lambda: "hawker is ready" in self.log("hawker"), "hawker")
        said = self.log("hawker")
        self.admin = said.split("admin on http://")[1].split()[0]
        self.address, self.narrow, self.crowded, self.proxied = (
            place_of(place.split()[0]) for place in said.split("listening on tcp://")[1:]
        )

    def _configure(self, queue_policy):
        # A key that others can read is refused, and a checkout gives it to all.
        shutil.copyfile(TLS / "key.pem", self.folder / "key.pem")
        (self.folder / "key.pem").chmod(0o600)
        text = CONFIGURATION.format(folder=self.folder, tls=TLS, queue_policy=queue_policy)
        (self.folder / "hawker.toml").write_text(text)

    def _start_prometheus(self):
        configuration = {
            "global": {
                "scrape_interval": self.scrape_interval,
                "evaluation_interval": self.scrape_interval,
            },
            "rule_files": [str(HERE / "alerts.yaml")],
            "scrape_configs": [
                {"job_name": "hawker", "static_configs": [{"targets": [self.admin]}]},
            ],
        }
        # JSON is YAML.
        path = self.folder / "prometheus.yaml"
        path.write_text(json.dumps(configuration))
        self.prometheus = f"127.0.0.1:{free_port()}"
        program = pathlib.Path(shutil.which("prometheus"))
        # Debian's looks for its pages below /usr.
        pages = f"--web.local-assets={UNPACKED / 'share/prometheus/web'}"
        self._start("prometheus", [
            program,
            *([pages] if program.is_relative_to(UNPACKED) else []),
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address={self.prometheus}",
            "--log.level=warn",
        ])
        self._until(lambda: answers(f"http://{self.prometheus}/-/ready"), "prometheus")
        # What is counted before the first scrape is not seen to rise.
        self._until(lambda: self.ask("query", query="hawker_connections")["result"], "prometheus")

    def start_grafana(self):
        """The last one: its address."""
        grafana = shutil.which("grafana", path=f"{os.environ['PATH']}:/usr/share/grafana/bin")
        if not grafana:
            raise Missing(
                "Grafana is not installed, so there are no dashboards to look at; "
                "https://grafana.com/docs/grafana/latest/setup-grafana/installation says how"
            )
        data = self.folder / "grafana"
        provisioning = data / "provisioning"
        self._provision(provisioning)
        address = f"127.0.0.1:{free_port()}"
        settings = {
            "SERVER_HTTP_ADDR": "127.0.0.1",
            "SERVER_HTTP_PORT": address.split(":")[1],
            "PATHS_DATA": data,
            "PATHS_LOGS": data / "log",
            "PATHS_PLUGINS": data / "plugins",
            "PATHS_PROVISIONING": provisioning,
            # It is there for this machine and this hour alone.
            "AUTH_ANONYMOUS_ENABLED": "true",
            "AUTH_ANONYMOUS_ORG_ROLE": "Admin",
            "ANALYTICS_REPORTING_ENABLED": "false",
            "ANALYTICS_CHECK_FOR_UPDATES": "false",
            "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": HERE / "dashboards/overview.json",
        }
        environment = {f"GF_{name}": str(value) for name, value in settings.items()}
        home = os.environ.get("GRAFANA_HOME", "/usr/share/grafana")
        self._start("grafana", [grafana, "server", f"--homepath={home}"], os.environ | environment)
        self._until(lambda: answers(f"http://{address}/api/health"), "grafana")
        return address

    def _provision(self, folder):
        """Where Grafana finds figures and pages: as in `provisioning/`, at other places."""
        for kind, old, new in (
            ("datasources", "http://127.0.0.1:9090", f"http://{self.prometheus}"),
            ("dashboards", "/var/lib/grafana/dashboards/hawker", str(HERE / "dashboards")),
        ):
            text = (HERE / "provisioning" / kind / "hawker.yaml").read_text()
            assert old in text, kind
            (folder / kind).mkdir(parents=True)
            (folder / kind / "hawker.yaml").write_text(text.replace(old, new))

    def _start(self, name, command, environment=None):
        with open(self.folder / f"{name}.log", "w") as log:
            # In a session of its own, Ctrl-C is for whoever started it to hear.
            self.processes.append(subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            ))

    def _until(self, condition, name):
        until = time.monotonic() + PATIENCE_S
        while not condition():
            ended = any(process.poll() is not None for process in self.processes)
            if ended or time.monotonic() > until:
                raise RuntimeError(f"{name} does not get on; it said:\n{self.log(name)}")
            time.sleep(0.05)


def place_of(address):
    """The host and the port of an address."""
    host, port = address.rsplit(":", 1)
    return host, int(port)


def free_port():
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def fetch(url):
    """What a server on this machine answers; a proxy is not asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE_S) as answer:
        return answer.read()


def answers(url):
    """Whether a server answers well."""
    try:
        fetch(url)
    except OSError:
        return False
    return True
