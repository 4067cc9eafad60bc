"""The tutorial's names, from a Hub on the loopback interface; and huggingface_hub beside us: the
same caches.

hub.py MERGECRAFT DIR GLUE, where DIR holds minilm-base and minilm-rte-1 … -5, and GLUE the
folder rte with validation.parquet. Needs torch, safetensors, transformers, huggingface_hub, and
the commands openssl and nghttpx.
"""

import http.client
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "hub"))
from server import Hub  # noqa: E402

COMMAND, DATA, GLUE = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
NAMES = [
    "textattack/bert-base-uncased-RTE",
    "yoshitomo-matsubara/bert-base-uncased-rte",
    "Ruizhou/bert-base-uncased-finetuned-rte",
    "howey/bert-base-uncased-rte",
    "anirudh21/bert-base-uncased-finetuned-rte",
]
BASE = "google-bert/bert-base-uncased"
DATASET = "nyu-mll/glue"
RTE = "rte/validation-00000-of-00001.parquet"
WORK = Path(tempfile.mkdtemp(prefix="mergecraft-hub-"))
passed = failed = 0


def check(name: str, good: bool, detail: str = "") -> None:
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok  ' if good else 'FAIL'} {name} {detail}", flush=True)


# ---- repositories
# -----------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t.float() for file in sorted(folder.glob("*.safetensors")) for name,
            t in load_file(file).items()}


def repository(name: str, source: Path) -> Path:
    folder = WORK / "root" / name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    config = json.loads((folder / "config.json").read_text())
    config.pop("dtype", None)
    config["torch_dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# A model\n")
    # What no merge needs.
    (folder / "flax_model.msgpack").write_bytes(b"\0" * 2_000_000)
    return folder


def make_repositories() -> None:
    for i, name in enumerate(NAMES, 1):
        source = DATA / f"minilm-rte-{i}"
        if i == 1:  # as of 2020: a pickle before the zip form
            torch.save(weights(source), repository(name, source) / "pytorch_model.bin",
                       _use_new_zipfile_serialization=False)
        elif i == 2:
            save_file(weights(source), repository(name, source) / "model.safetensors",
                      {"format": "pt"})
        else:
            shutil.copytree(source, WORK / "root" / name)
    bare = {n.removeprefix("bert."): t for n, t in weights(DATA / "minilm-base").items()
            if not n.startswith("classifier.")}
    save_file(bare, repository(BASE, DATA / "minilm-base") / "model.safetensors", {"format": "pt"})
    data = WORK / "root/datasets" / DATASET / "rte"
    data.mkdir(parents=True)
    shutil.copy(GLUE / "rte/validation.parquet", data / Path(RTE).name)


# ---- the command, and the package
# -------------------------------------------------------------------


def environment(hub: Hub, home: Path, **more: str) -> dict[str, str]:
    others = ("HF_", "HUGGING", "CURL_", "REQUESTS_", "SSL_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(others)
             and "proxy" not in k.lower()}
    return {**clean, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), **more}


def run(env: dict[str, str], *arguments: str, fails: bool = False) -> subprocess.CompletedProcess:
    done = subprocess.run([COMMAND, *arguments], env=env, capture_output=True, text=True)
    if (done.returncode != 0) != fails:
        print(done.stdout, done.stderr, file=sys.stderr)
    return done


PACKAGE = """
import sys
from huggingface_hub import hf_hub_download
for line in sys.argv[1:]:
    kind, name, path = line.split(" ")
    print(hf_hub_download(name, path, repo_type=kind))
"""


def package(env: dict[str, str], files: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", PACKAGE, *files], env=env, capture_output=True,
                          text=True)


def tree(home: Path) -> dict[str, str]:
    """Every name below the cache, with what is behind it."""
    entries = {}
    for path in sorted((home / "hub").rglob("*")):
        name = path.relative_to(home / "hub").as_posix()
        if path.is_symlink():
            entries[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            entries[name] = "folder"
        else:
            entries[name] = str(hash(path.read_bytes()))
    return entries


# ---- checks
# -----------------------------------------------------------------------------------------


def same_trees(hub: Hub) -> None:
    ours, theirs = WORK / "ours", WORK / "theirs"
    found = run(environment(hub, ours), "download", NAMES[0], NAMES[2], "--dataset", "rte",
                "--json")
    downloads = json.loads(found.stdout)["downloads"]
    files = [f"{d['kind']} {d['name']} {f['path']}" for d in downloads for f in d["files"]]
    done = package(environment(hub, theirs), files)
    check("huggingface_hub downloads from this Hub", done.returncode == 0, done.stderr[-300:])
    a, b = tree(ours), tree(theirs)
    different = sorted(set(a.items()) ^ set(b.items()))
    check("the two caches are the same, name by name", a == b and len(a) > 30, str(different[:4]))
    check("nothing but what a merge needs", not any("flax" in n for n in a))
    offline = package(environment(hub, ours, HF_HUB_OFFLINE="1"), files)
    check("huggingface_hub uses our cache", offline.returncode == 0, offline.stderr[-300:])
    back = run(environment(hub, theirs, HF_HUB_OFFLINE="1"), "download", NAMES[0], NAMES[2],
               "--dataset", "rte", "--json")
    received = [d["bytes_received"] for d in json.loads(back.stdout)["downloads"]]
    check("we use its cache", received == [0, 0, 0])


def shared_store(hub: Hub) -> None:
    home, store = WORK / "linked", WORK / "store"
    run(environment(hub, home), "download", NAMES[1], "-q")
    store.mkdir()
    for blob in (home / "hub/models--yoshitomo-matsubara--bert-base-uncased-rte/blobs").iterdir():
        shutil.move(blob, store / blob.name)
        blob.symlink_to(store / blob.name)
    before = {p.name: p.stat().st_mtime_ns for p in store.iterdir()}
    found = run(environment(hub, home), "inspect", NAMES[1], "--summary")
    after = {p.name: p.stat().st_mtime_ns for p in store.iterdir()}
    check("blobs may be links into a store", found.returncode == 0 and before == after)


def two_processes(hub: Hub) -> None:
    env = environment(hub, WORK / "two")
    both = [subprocess.Popen([COMMAND, "download", *NAMES, "-q"], env=env) for _ in range(2)]
    check("two processes at once", [p.wait() for p in both] == [0, 0])
    files = [p for p in (WORK / "two/hub").rglob("*") if p.name.endswith(".incomplete")]
    check("neither leaves anything", files == [])


def preflight(hub: Hub) -> None:
    home = WORK / "preflight"
    other = WORK / "root/org/other"
    shutil.copytree(WORK / "root" / NAMES[1], other)
    tensors = load_file(other / "model.safetensors")
    name = next(n for n in tensors if n.endswith("query.weight"))
    tensors[name] = torch.zeros(3, 5)
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    env = environment(hub, home)
    done = run(env, "merge", "median", NAMES[1], "org/other", "-o", str(WORK / "never"), fails=True)
    large = [p for p in (home / "hub").rglob("*") if p.is_file() and p.stat().st_size > 2_000_000]
    check("shapes that differ are found before weights travel", name in done.stderr and not large,
          done.stderr.strip()[-120:])
    done = run(env, "merge", "median", NAMES[1], NAMES[2], "-o", str(WORK / "never"), "--dry-run")
    large = [p for p in (home / "hub").rglob("*") if p.is_file() and p.stat().st_size > 2_000_000]
    check("--dry-run fetches headers only", done.returncode == 0 and "tensors" in done.stdout
          and not large)
    (WORK / "root/org/gated").mkdir()
    (WORK / "root/org/gated/.hub.json").write_text('{"gated": "hf_x"}')
    shutil.copy(other / "model.safetensors", WORK / "root/org/gated")
    done = run(env, "merge", "median", NAMES[1], "org/gated", "-o", str(WORK / "never"), fails=True)
    large = [p for p in (home / "hub").rglob("*") if p.is_file() and p.stat().st_size > 2_000_000]
    check("a gated model is told before weights travel", "gated" in done.stderr and not large)


def secrets(hub: Hub) -> None:
    home, out = WORK / "secret", WORK / "secret-out"
    env = environment(hub, home, HF_TOKEN="hf_verysecret")
    done = run(env, "merge", "-v", "median", NAMES[1], NAMES[2], "-o", str(out))
    run(env, "inspect", "org/nothing", fails=True)
    texts = [p for p in [*home.rglob("*"), *out.rglob("*")] if p.is_file()
             and b"hf_verysecret" in p.read_bytes()]
    check("the token is in no file and no message", not texts and "hf_verysecret" not in done.stderr
          + done.stdout)
    requests = [json.loads(line) for line in Path(hub.log).read_text().splitlines()]
    sent = {r["host"] for r in requests if r["authorization"] == "Bearer hf_verysecret"}
    check("the token is sent to the endpoint only", sent == {"127.0.0.1"}
          and any(r["host"] == "127.0.0.2" for r in requests))


def tls() -> None:
    folder = WORK / "tls"
    folder.mkdir()
    names = "subjectAltName=IP:127.0.0.1,IP:127.0.0.2"
    commands = [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=Test",
        "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=127.0.0.1",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names "
        "-out cert.pem",
    ]
    (folder / "names").write_text(names)
    for command in commands:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    hub = Hub(WORK / "root", certificate=folder / "cert.pem", key=folder / "key.pem").start()
    good = run(environment(hub, WORK / "tls-home", SSL_CERT_FILE=str(folder / "ca.pem")),
               "download", NAMES[1], "-q")
    check("over TLS", good.returncode == 0)
    bad = run(environment(hub, WORK / "tls-home-2"), "download", NAMES[1], fails=True)
    check("a certificate of an unknown authority is refused", bad.returncode == 1
          and "certificate" in bad.stderr.lower())
    hub.stop()


def free_port(host: str) -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return one.getsockname()[1]


def http2() -> None:
    """Over HTTP/2: nghttpx in front of the Hub, as Python has no server for it. After tls(),
    whose certificate it uses."""
    folder, log = WORK / "tls", WORK / "http2.log"
    hub = Hub(WORK / "root").start()
    hosts = {"127.0.0.1": hub.servers[0], "127.0.0.2": hub.servers[1]}
    ports = {host: free_port(host) for host in hosts}
    hub.endpoint, hub.cdn = (f"https://{host}:{port}" for host, port in ports.items())
    command = ["nghttpx", f"--accesslog-file={log}", "--conf=/dev/null", "--workers=1", "--no-ocsp",
               "--accesslog-format=$alpn $server_port $remote_port $status $request $http_range"]
    command += [f"--frontend={host},{port}" for host, port in ports.items()]
    backends = [f"--backend={host},{server.server_address[1]}" for host, server in hosts.items()]
    # what is for no other is for the endpoint
    command += [backends[0], f"{backends[1]};127.0.0.2/"]
    proxy = subprocess.Popen([*command, str(folder / "key.pem"), str(folder / "cert.pem")],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for host, port in ports.items():
        for _ in range(100):
            with socket.socket() as one:
                if one.connect_ex((host, port)) == 0:
                    break
            time.sleep(0.05)
    env = environment(hub, WORK / "http2-home", SSL_CERT_FILE=str(folder / "ca.pem"))
    done = run(env, "download", *NAMES, "-q")
    requests = [line.split() for line in log.read_text().splitlines()]
    used = {host: [r[2] for r in requests if r[1] == str(port)] for host, port in ports.items()}
    counts = [(len(used[host]), len(set(used[host]))) for host in hosts]
    check("five models over HTTP/2", done.returncode == 0 and {r[0] for r in requests} == {"h2"}
          and len(requests) > 20)
    # Large files have their own, as one connection is rarely as fast as several.
    shared = counts[0][1] <= 8 and counts[0][0] >= 4 * counts[0][1] and counts[1][1] <= 8
    check("requests share connections", shared,
          f"requests and connections of endpoint and CDN: {counts}")
    control = WORK / "root" / NAMES[1] / ".hub.json"
    control.write_text('{"faults": {"model.safetensors": {"kind": "cut", "after": 3000000, '
                       '"times": 2}}}')
    env["HF_HOME"] = str(WORK / "http2-cut")
    done = run(env, "download", NAMES[1], "-q")
    control.unlink()
    ranges = [line.rsplit(" ", 1)[1] for line in log.read_text().splitlines() if " 206 " in line]
    check("a stream that is cut is gone on with", done.returncode == 0 and len(ranges) == 2
          and "bytes=0-" not in ranges, str(ranges))
    proxy.terminate()
    proxy.wait()
    hub.stop()


class Forward(http.server.BaseHTTPRequestHandler):
    """A proxy as http_proxy names it: it is asked for whole addresses."""

    seen: list[str] = []

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        self.seen.append(parts.hostname)
        other = http.client.HTTPConnection(parts.hostname, parts.port)
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        other.request(self.command, f"{parts.path}?{parts.query}".rstrip("?"), headers=headers)
        reply = other.getresponse()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            self.send_header(name, value)
        self.end_headers()
        shutil.copyfileobj(reply, self.wfile)
        self.close_connection = True
        other.close()

    do_HEAD = do_GET


def proxies(hub: Hub) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    good, hosts = [], []
    for i, none in enumerate(["", "127.0.0.1", "*"]):
        Forward.seen.clear()
        env = environment(hub, WORK / f"proxy-{i}", http_proxy=address, NO_PROXY=none)
        good.append(run(env, "download", NAMES[1], "-q").returncode == 0)
        hosts.append(set(Forward.seen))
    check("by a proxy", all(good) and hosts[0] == {"127.0.0.1", "127.0.0.2"}, str(hosts))
    check("not to what NO_PROXY names", hosts[1:] == [{"127.0.0.2"}, set()])
    server.shutdown()
    server.server_close()


def example(hub: Hub) -> None:
    """examples/hub.sh, with the cache that the tutorial filled."""
    env = environment(hub, WORK / "tutorial")
    env["PATH"] = f"{Path(COMMAND).resolve().parent}:{env['PATH']}"
    script, out = HERE.parent.parent / "examples/hub.sh", WORK / "example"
    done = subprocess.run([script, str(out)], env=env, capture_output=True, text=True)
    scored = [line for line in done.stdout.splitlines() if "accuracy" in line]
    check("examples/hub.sh", done.returncode == 0 and len(scored) == 3, done.stderr[-300:])
    for line in scored:
        print(f"     {line}")
    ours, theirs = out / "ties/model.safetensors", WORK / "merged/model.safetensors"
    same = ours.read_bytes() == theirs.read_bytes()
    check("it merges what the tutorial merges", same)


def tutorial(hub: Hub) -> None:
    """As in the tutorial: five names and a base, merged, and scored."""
    env = environment(hub, WORK / "tutorial")
    out = WORK / "merged"
    merge = ["merge", "ties", *NAMES, "--base", BASE, "-p", "k=.1", "--passthrough", "classifier.*",
             "-o", str(out)]
    done = run(env, *merge)
    check("the tutorial's five names and their base are merged", done.returncode == 0)
    card, provenance = (out / "README.md").read_text(), json.loads((out
            / "mergecraft.json").read_text())
    parents = provenance["models"] + [provenance["base"]]
    named = [(p["repository"], len(p["commit"])) for p in parents]
    check("card and provenance name the parents", named == [(n, 40) for n in [*NAMES, BASE]]
          and all(f'- "{n}"' in card for n in NAMES))
    check("the card has licence and language of theirs", 'license: "mit"' in card
          and 'language: "en"' in card)
    local = WORK / "merged-local"
    paths = [str(next((WORK / "tutorial/hub" / f"models--{n.replace('/', '--')}"
                       / "snapshots").iterdir())) for n in [*NAMES, BASE]]
    run(env, "merge", "ties", *paths[:5], "--base", paths[5], "-p", "k=.1", "--passthrough",
        "classifier.*", "-o", str(local))
    same = (out / "model.safetensors").read_bytes() == (local / "model.safetensors").read_bytes()
    check("the same bits as from the folders", same)
    if run(env, "help", "eval", fails=False).returncode != 0:
        print("     (this build has no eval)")
        return
    score = run(env, "eval", str(out), "rte", "--json")
    accuracy = json.loads(score.stdout)["metrics"]["accuracy"] if score.returncode == 0 else 0
    check("the merge is scored on the Hub's data", 0.5 < accuracy < 0.7, f"accuracy {accuracy}")


def main() -> None:
    make_repositories()
    hub = Hub(WORK / "root", log=str(WORK / "log")).start()
    (WORK / "log").write_text("")
    same_trees(hub)
    shared_store(hub)
    two_processes(hub)
    preflight(hub)
    secrets(hub)
    tls()
    http2()
    proxies(hub)
    tutorial(hub)
    example(hub)
    hub.stop()
    shutil.rmtree(WORK)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
