"""The brokers that are measured: how each is started, watched and stopped."""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "lepus"
START_SECONDS_MAX = 120
FILES = 65_536


def raise_file_limit():
    """Thousands of connections need as many descriptors, here and in what is started from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, FILES), max(hard, FILES)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    kib = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    return f"{os.cpu_count()} cores ({cpu}), {kib / 2**20:.0f} GiB, Linux {os.uname().release}"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nobody listens on port {port} after {seconds} s")


def wait_for_amqp(port, seconds):
    """Until it says connection.start: a socket that listens may have nobody behind it yet."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        client.sendall(b"AMQP\0\0\x09\x01")
        if not client.recv(7):
            raise SystemExit(f"what listens on port {port} does not speak AMQP")


def perf_command(*flags):
    return [str(BINARY), "perf", *map(str, flags), "--json"]


def perf(*flags, timeout=600):
    """Runs `lepus perf`; its report, or None if it failed."""
    command = perf_command(*flags)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    last = done.stdout.strip().splitlines()
    if not last:
        print(" ".join(command), done.stderr.strip())
        return None
    return json.loads(last[-1])


class Running:
    """A broker that somebody else has started."""

    def __init__(self, name, url, pid):
        self.name, self.url, self.pid = name, url, pid

    @classmethod
    def parse(cls, text):
        name, _, rest = text.partition("=")
        url, _, pid = rest.rpartition(":")
        if not (name and url and pid.isdigit()):
            raise SystemExit(f"{text}: not NAME=URL:PID")
        return cls(name, url, int(pid))

    def version(self):
        return "as it runs"

    def start(self):
        pass

    def stop(self):
        pass


class Lepus:
    """Started anew, with a directory of its own, for each group."""

    name = "Lepus"

    def __init__(self):
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
        self.process = self.directory = self.url = self.tls_url = self.http_port = None

    @property
    def pid(self):
        return self.process.pid

    def version(self):
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
        return f"{self.number()} ({commit.stdout.strip() or 'no commit'})"

    @staticmethod
    def number():
        return subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]

    def start(self, *flags):
        """Starts it; again in the same directory after a stop with keep=True."""
        port, http_port, tls_port = free_port(), free_port(), free_port()
        if self.directory is None:
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix="lepus-versus-"))
        command = [BINARY, "serve", "--data-dir", self.directory / "data", "--amqp-listen", f"127.0.0.1:{port}"]
        command += ["--http-listen", f"127.0.0.1:{http_port}", "--log-level", "warn", *flags, *self.tls_flags(tls_port)]
        log = open(self.directory / "log", "a", encoding="utf-8")
        self.process = subprocess.Popen(list(map(str, command)), stderr=log, stdout=log)
        wait_for(port, START_SECONDS_MAX)
        wait_for_amqp(port, START_SECONDS_MAX)
        self.url = f"amqp://guest:guest@127.0.0.1:{port}"
        self.tls_url = f"amqps://guest:guest@localhost:{tls_port}"
        self.http_port = http_port

    def tls_flags(self, port):
        """A certificate of its own making, where there is openssl to make one."""
        key, certificate = self.directory / "key.pem", self.directory / "certificate.pem"
        if shutil.which("openssl") is None:
            return []
        if not key.exists():
            subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
            curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
            command = ["openssl", "req", "-x509", *curve, "-nodes", "-days", "9", *subject, "-keyout", key, "-out", certificate]
            subprocess.run(command, check=True, capture_output=True)
        return ["--amqps-listen", f"127.0.0.1:{port}", "--tls-cert", certificate, "--tls-key", key]

    def stop(self, keep=False, by=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(by)
            self.process.wait(timeout=300)
            self.process = None
        if not keep and self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


class RabbitMq:
    """The newest RabbitMQ of Debian, in a chroot: the host needs neither Erlang nor the package."""

    def __init__(self, root):
        self.name, self.root, self.pid, self.url = "RabbitMQ", root, None, None
        self.process = None

    def inside(self, *command, **options):
        environment = {
            "HOME": "/root",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": "versus@localhost",
            "RABBITMQ_MNESIA_BASE": "/var/lib/versus",
            "RABBITMQ_LOG_BASE": "/var/log/versus",
            "ERL_EPMD_PORT": str(self.epmd),
            "RABBITMQ_DIST_PORT": str(self.dist),
        }
        return ["chroot", str(self.root), "/usr/bin/env", "-i", *(f"{k}={v}" for k, v in environment.items()), *command]

    def install(self):
        if (self.root / ".ready").exists():
            return
        if os.geteuid() != 0:
            raise SystemExit("RabbitMQ is started in a chroot, as root; or give one that runs, as RabbitMQ=URL:PID")
        if shutil.which("debootstrap") is None:
            subprocess.run(["apt-get", "install", "-y", "-qq", "debootstrap"], check=True)
        self.root.mkdir(parents=True, exist_ok=True)
        subprocess.run(["debootstrap", "--variant=minbase", "sid", self.root], check=True, stdout=subprocess.DEVNULL)
        shutil.copy("/etc/hosts", self.root / "etc/hosts")
        packages = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "rabbitmq-server"]
        install = ["chroot", self.root, "env", "DEBIAN_FRONTEND=noninteractive", *packages]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (self.root / ".ready").touch()

    def start(self):
        self.install()
        self.epmd, self.dist, port = free_port(), free_port(), free_port()
        for system in ("proc", "dev"):
            if not os.path.ismount(self.root / system):
                subprocess.run(["mount", "--bind", f"/{system}", self.root / system], check=True)
        for kept in ("var/lib/versus", "var/log/versus"):
            shutil.rmtree(self.root / kept, ignore_errors=True)
            (self.root / kept).mkdir(parents=True)
        (self.root / "etc/rabbitmq/rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n", encoding="utf-8")
        (self.root / "etc/rabbitmq/enabled_plugins").write_text("[].\n", encoding="utf-8")
        self.process = subprocess.Popen(
            self.inside("/usr/lib/rabbitmq/bin/rabbitmq-server"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True,
        )
        wait_for(port, START_SECONDS_MAX)
        self.url = f"amqp://guest:guest@127.0.0.1:{port}"
        self.pid = self.beam()

    def beam(self):
        """The virtual machine among what the start script has started: it is told where epmd listens."""
        told = f"-epmd_port\0{self.epmd}\0"
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "comm").read_text().strip() == "beam.smp" and told in (entry / "cmdline").read_text():
                        return int(entry.name)
                except OSError:
                    pass
        raise SystemExit("RabbitMQ listens, but its process is not to be found")

    def version(self):
        done = subprocess.run(self.inside("/usr/lib/rabbitmq/bin/rabbitmqctl", "version"), capture_output=True, text=True, check=False)
        return (done.stdout.split() or ["?"])[-1]

    def stop(self):
        if self.process is not None:
            subprocess.run(self.inside("/usr/lib/rabbitmq/bin/rabbitmqctl", "stop"), capture_output=True, check=False)
            self.process.wait(timeout=60)
            self.process = None
