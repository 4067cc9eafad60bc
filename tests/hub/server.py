#!/usr/bin/env python3
"""A Hub on the loopback interface, for tests: the API of the Hugging Face Hub, and its failures.

server.py --root DIR [options] [-- COMMAND ...]

DIR/ORG/NAME/... are model repositories, DIR/datasets/ORG/NAME/... data sets. The files in the
folder are those of the revision "main". The endpoint (127.0.0.1) serves small files, and redirects
large ones to a "content delivery network" (127.0.0.2) with a signed address. Without COMMAND it
prints the address of the endpoint and runs until it is stopped, or its standard input ends
(--until-eof). With COMMAND it runs COMMAND with HF_ENDPOINT set, and exits with its status.

A file .hub.json in a repository, read at each request, changes how it behaves:

  private: TOKEN       401 without this token
  gated: TOKEN         403 on files without it
  renamed: ORG/NAME    relative redirects
  siblings: [..]       further names in the listing
  no_siblings: true    a listing without siblings
  page: N              entries per page of the tree
  is_private: true     private in the listing
  ignore: [..]         shouldIgnore for uploads
  multipart: BYTES     large files are uploaded in parts
  verify: true         uploads must be verified
  xet: true            no address for uploads
  lfs_error: TEXT      large files are refused
  faults: {FILE or "api": {kind: ..., times: N, ...}}
                       failures of a file; times: only the first N requests

  kinds of faults: cut (after bytes), wrong (at byte), endless, stall (after bytes), no_range, gzip,
  chunked, unsatisfiable, status (code, retry_after), location (to), no_commit, etag (value), short
  (bytes too few), slow (bytes per second), expire (after bytes; the signed address then expires)

Uploads need a token that begins with hf_write. Faults of kind status also exist for the names
"create", "branch", "preupload", "batch", "put", "complete", "verify" and "commit"; "drop" commits
and hangs up without a reply. Large files are kept in DIR/.lfs; branches in DIR/.branches.

Needs nothing but Python's standard library.
"""

import argparse
import base64
import gzip
import hashlib
import http.server
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

BLOCK = 1 << 20
digests = {}
fault_counts = {}
used_signatures = set()
lock = threading.Lock()


def digest_of(path: Path, large: bool) -> str:
    """The name of the content: sha256 of a large file, git's sha1 of a small one."""
    status = path.stat()
    key = (str(path), status.st_mtime_ns, status.st_size, large)
    if key not in digests:
        digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % status.st_size)
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        digests[key] = digest.hexdigest()
    return digests[key]


class Repository:
    def __init__(self, server, kind: str, name: str):
        self.server, self.kind, self.name = server, kind, name
        self.folder = server.root / ("datasets" if kind == "datasets" else ".") / name
        self.there = self.folder.is_dir()
        control = self.folder / ".hub.json"
        self.control = json.loads(control.read_text()) if control.is_file() else {}

    def files(self) -> dict[str, Path]:
        names = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not name.startswith("."):
                names[name] = path
        return names

    def is_large(self, path: Path) -> bool:
        return path.stat().st_size >= self.server.large or path.suffix in (
            ".safetensors",
            ".bin",
            ".parquet",
        )

    def commit(self) -> str:
        text = "".join(
            f"{name} {digest_of(path, self.is_large(path))}\n"
            for name, path in self.files().items()
        )
        return self.control.get("commit") or hashlib.sha1(text.encode()).hexdigest()

    def fault(self, name: str, kinds: tuple[str, ...]) -> dict:
        """The fault to make now, {} if there is none of these kinds."""
        fault = self.control.get("faults", {}).get(name)
        if not fault or fault["kind"] not in kinds:
            return {}
        with lock:
            key = (str(self.folder), name, json.dumps(fault, sort_keys=True))
            fault_counts[key] = fault_counts.get(key, 0) + 1
            return fault if fault_counts[key] <= fault.get("times", 1 << 60) else {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    text = None  # of a request that sends JSON

    def record(self):
        if not self.server.hub.log:
            return
        line = json.dumps(
            {
                "host": self.server.server_address[0],
                "port": self.server.server_address[1],
                "method": self.command,
                "path": self.path,
                "authorization": self.headers.get("Authorization"),
                "range": self.headers.get("Range"),
                "client": self.client_address[1],
                "headers": dict(self.headers),
                "body": self.text,
            }
        )
        with lock, open(self.server.hub.log, "a") as log:
            log.write(line + "\n")

    # ---- replies -----------------------------------------------------------------------------

    def reply(self, status: int, headers: dict | None = None, body: bytes = b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, value, headers: dict | None = None):
        self.reply(
            200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()
        )

    def refuse(self, status: int, code: str, message: str, headers: dict | None = None):
        self.reply(
            status,
            {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})},
            message.encode(),
        )

    # ---- requests ----------------------------------------------------------------------------

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer_sent()

    def do_PUT(self):
        self.answer_sent()

    def answer(self):
        self.record()
        try:
            path, _, query = self.path.partition("?")
            if self.server.is_cdn:
                self.answer_cdn(path, query)
            elif path.startswith("/api/"):
                self.answer_api(path[5:], urllib.parse.parse_qs(query))
            else:
                self.answer_file(path)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def repository(self, kind: str, name: str) -> Repository | None:
        """None if the request has been answered."""
        repository = Repository(self.server.hub, kind, name)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        renamed = repository.control.get("renamed")
        if renamed:
            self.reply(307, {"Location": self.path.replace(name, renamed, 1)})
        elif not repository.there or repository.control.get("private", token) != token:
            self.refuse(401, "RepoNotFound", "Invalid username or password.")
        else:
            return repository
        return None

    def answer_fault(self, repository: Repository, name: str) -> bool:
        fault = repository.fault(name, ("status", "location"))
        if not fault:
            return False
        if fault["kind"] == "location":
            self.reply(302, {"Location": fault["to"], **fault.get("headers", {})})
        else:
            extra = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
            self.reply(fault["code"], {**extra, **fault.get("headers", {})}, b"no")
        return True

    def answer_api(self, path: str, query: dict):
        match = re.fullmatch(
            r"(models|datasets)/((?:[^/]+/)?[^/]+)/(revision|tree)/([^/]+)(?:/.*)?", path
        )
        if not match:
            return self.refuse(404, "EntryNotFound", "no such page")
        repository = self.repository(match[1], match[2])
        if not repository or self.answer_fault(repository, "api"):
            return None
        if repository.fault("api", ("stall",)):
            time.sleep(60)
        revision = urllib.parse.unquote(match[4])
        if not self.is_revision(repository, revision):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if match[3] == "tree":
            return self.answer_tree(repository, path, int(query.get("cursor", ["0"])[0]))
        listing = {
            "id": repository.name,
            "sha": repository.commit(),
            "private": bool(
                repository.control.get("is_private") or repository.control.get("private")
            ),
        }
        if not repository.control.get("no_siblings"):
            names = [*repository.files(), *repository.control.get("siblings", [])]
            listing["siblings"] = [{"rfilename": name} for name in names]
        fault = repository.fault("api", ("cut",))
        if fault:
            text = json.dumps(listing).encode()
            self.reply(200, {"Content-Length": str(len(text))}, text[: fault["after"]])
            return self.hang_up()
        return self.reply_json(listing)

    def answer_tree(self, repository: Repository, path: str, cursor: int):
        entries = []
        for name, file in repository.files().items():
            size, large = file.stat().st_size, repository.is_large(file)
            entry = {"type": "file", "path": name, "size": size, "oid": digest_of(file, False)}
            if large:
                entry["lfs"] = {"oid": digest_of(file, True), "size": size, "pointerSize": 134}
            entries.append(entry)
        page = repository.control.get("page", 1000)
        following = cursor + page
        link = (
            f'<{self.server.hub.endpoint}/api/{path}?recursive=true&cursor={following}>; rel="next"'
        )
        headers = {"Link": repository.control.get("link", link)} if following < len(entries) else {}
        self.reply_json(entries[cursor:following], headers)

    @staticmethod
    def is_revision(repository: Repository, revision: str) -> bool:
        return revision in ("main", repository.commit(), *repository.control.get("revisions", []))

    def answer_file(self, path: str):
        match = re.fullmatch(r"/(datasets/)?((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)", path)
        if not match:
            return self.refuse(404, "EntryNotFound", "no such page")
        repository = self.repository("datasets" if match[1] else "models", match[2])
        if not repository:
            return None
        name, revision = urllib.parse.unquote(match[4]), urllib.parse.unquote(match[3])
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repository.control.get("gated", token) != token:
            return self.refuse(
                403, "GatedRepo", f"Access to model {repository.name} is restricted."
            )
        if not self.is_revision(repository, revision):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        file = repository.files().get(name)
        commit = {"X-Repo-Commit": repository.commit()}
        if not file:
            return self.refuse(404, "EntryNotFound", "Entry not found", commit)
        if self.answer_fault(repository, name):
            return None
        if repository.fault(name, ("no_commit",)):
            commit = {}
        large = repository.is_large(file)
        etag = repository.fault(name, ("etag",)).get("value") or f'"{digest_of(file, large)}"'
        if not large:
            return self.send_file(repository, name, file, {**commit, "ETag": etag})
        path = f"{repository.kind}/{repository.name}/{urllib.parse.quote(name)}"
        signed = f"{self.server.hub.cdn}/{path}?signature=secret"
        if repository.fault(name, ("expire",)):
            signed += f"-{time.monotonic_ns()}"
        size = (
            {}
            if repository.fault(name, ("chunked",)).get("no_size")
            else {"X-Linked-Size": file.stat().st_size}
        )
        return self.reply(
            302, {**commit, **size, "X-Linked-Etag": etag, "Location": signed, "ETag": '"pointer"'}
        )

    def answer_cdn(self, path: str, query: str):
        match = re.fullmatch(r"/(models|datasets)/((?:[^/]+/)?[^/]+)/(.+)", path)
        with lock:
            good = query.startswith("signature=secret") and query not in used_signatures
            if query != "signature=secret":
                used_signatures.add(query)
        if not good:
            return self.reply(403, {}, b"not signed")
        repository, name = (
            Repository(self.server.hub, match[1], match[2]),
            urllib.parse.unquote(match[3]),
        )
        return self.send_file(
            repository, name, repository.files()[name], {"ETag": '"of the network"'}
        )

    # ---- uploads -----------------------------------------------------------------------------

    def answer_sent(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.text = body.decode() if "json" in (self.headers.get("Content-Type") or "") else None
        self.record()
        path = urllib.parse.unquote(self.path.partition("?")[0])
        writer = (self.headers.get("Authorization") or "").startswith("Bearer hf_write")
        try:
            if self.server.is_cdn:
                self.take_content(path, body)
            elif not writer and "/complete/" not in path:  # its address is signed
                self.refuse(403, "", "You need a token with write access.")
            elif path == "/api/repos/create":
                self.create(json.loads(body))
            elif path == "/api/validate-yaml":
                self.reply_json({"errors": [], "warnings": []})
            else:
                self.answer_write(path, body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def create(self, wanted: dict):
        name = f"{wanted['organization']}/{wanted['name']}"
        repository = Repository(self.server.hub, "models", name)
        if wanted["organization"] == "forbidden":
            return self.refuse(403, "", "no access to this organization")
        if repository.there:
            text = json.dumps(
                {
                    "error": "You already created this model repo",
                    "url": f"{self.server.hub.endpoint}/{name}",
                }
            )
            return self.reply(409, {"Content-Type": "application/json"}, text.encode())
        repository.folder.mkdir(parents=True)
        (repository.folder / ".hub.json").write_text(
            json.dumps({"is_private": wanted.get("visibility") == "private"})
        )
        return self.reply_json({"url": f"{self.server.hub.endpoint}/{name}"})

    def answer_write(self, path: str, body: bytes):
        batch = re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path)
        match = batch or re.fullmatch(
            r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit|complete|verify)/(.+)", path
        )
        repository = self.repository("models", match[1]) if match else None
        if not match:
            return self.refuse(404, "EntryNotFound", "no such page")
        if not repository or self.answer_fault(repository, "batch" if batch else match[2]):
            return None
        if batch:
            return self.answer_batch(repository, json.loads(body))
        action, revision = match[2], match[3]
        if action == "branch":
            revisions = [*repository.control.get("revisions", []), revision]
            (repository.folder / ".hub.json").write_text(
                json.dumps({**repository.control, "revisions": revisions})
            )
            return self.reply_json({})
        if action in ("complete", "verify"):
            return self.finish_content(action, revision, json.loads(body))
        if not self.is_revision(repository, revision):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        folder = self.folder_of(repository, revision)
        if action == "preupload":
            return self.answer_preupload(repository, folder, json.loads(body))
        return self.commit(repository, folder, [json.loads(line) for line in body.splitlines()])

    def folder_of(self, repository: Repository, revision: str) -> Path:
        return (
            repository.folder
            if revision == "main"
            else self.server.hub.root / ".branches" / repository.name / revision
        )

    def answer_preupload(self, repository: Repository, folder: Path, wanted: dict):
        files = []
        for file in wanted["files"]:
            known = folder / file["path"]
            large = file["size"] >= self.server.hub.large or file["path"].endswith(
                (".safetensors", ".bin", ".parquet")
            )
            assert len(base64.b64decode(file["sample"], validate=True)) == min(file["size"], 512)
            files.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": file["path"] in repository.control.get("ignore", []),
                    "oid": digest_of(known, large) if known.is_file() else None,
                }
            )
        self.reply_json({"files": files[::-1], "commitOid": repository.commit()})

    def answer_batch(self, repository: Repository, wanted: dict):
        assert (
            "basic" in wanted["transfers"]
            and wanted["operation"] == "upload"
            and wanted["hash_algo"] == "sha256"
        )
        store, api = (
            self.server.hub.root / ".lfs",
            f"{self.server.hub.endpoint}/api/models/{repository.name}",
        )
        chunk, objects = repository.control.get("multipart"), []
        for file in wanted["objects"]:
            oid, size, answer = file["oid"], file["size"], dict(file)
            address = f"{self.server.hub.cdn}/upload/{repository.name}/{oid}"
            upload = {"href": f"{address}?signature=secret"}
            if repository.control.get("lfs_error"):
                answer["error"] = {"code": 422, "message": repository.control["lfs_error"]}
            elif not (store / oid).is_file():
                if chunk:
                    parts = {
                        f"{i + 1:05}": f"{address}/{i + 1}?signature=secret"
                        for i in range(-(-size // chunk))
                    }
                    upload = {
                        "href": f"{api}/complete/{oid}",
                        "header": {"chunk_size": str(chunk), **parts},
                    }
                if repository.control.get("xet"):
                    upload = {"header": {}}
                answer["actions"] = {"upload": upload}
                if repository.control.get("verify"):
                    answer["actions"]["verify"] = {"href": f"{api}/verify/{oid}"}
            objects.append(answer)
        self.reply_json({"transfer": "multipart" if chunk else "basic", "objects": objects})

    def take_content(self, path: str, body: bytes):
        match = re.fullmatch(r"/upload/([^/]+/[^/]+)/([0-9a-f]{64})(?:/(\d+))?", path)
        if not match or "signature=secret" not in self.path or "Authorization" in self.headers:
            return self.reply(403, {}, b"no")
        repository = Repository(self.server.hub, "models", match[1])
        if self.answer_fault(repository, "put"):
            return None
        store = self.server.hub.root / ".lfs"
        store.mkdir(exist_ok=True)
        if not match[3] and hashlib.sha256(body).hexdigest() != match[2]:
            return self.reply(400, {}, b"another content")
        (store / (f"{match[2]}.{match[3]}" if match[3] else match[2])).write_bytes(body)
        return self.reply(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def finish_content(self, action: str, oid: str, wanted: dict):
        store = self.server.hub.root / ".lfs"
        if action == "complete":
            content = b""
            for number, part in enumerate(wanted["parts"], 1):
                piece = (store / f"{oid}.{number}").read_bytes()
                assert (
                    part["partNumber"] == number
                    and part["etag"] == f'"{hashlib.md5(piece).hexdigest()}"'
                )
                content += piece
            if hashlib.sha256(content).hexdigest() != oid or wanted["oid"] != oid:
                return self.reply(400, {}, b"another content")
            (store / oid).write_bytes(content)
        good = (store / oid).is_file() and (
            action == "complete" or wanted["size"] == (store / oid).stat().st_size
        )
        return self.reply_json({}) if good else self.reply(404, {}, b"no such content")

    def commit(self, repository: Repository, folder: Path, lines: list):
        assert lines[0]["key"] == "header" and lines[0]["value"]["summary"]
        for line in lines[1:]:
            value, path = line["value"], folder / line["value"]["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "file":
                path.write_bytes(base64.b64decode(value["content"], validate=True))
            else:
                content = (self.server.hub.root / ".lfs" / value["oid"]).read_bytes()
                assert (
                    line["key"] == "lfsFile"
                    and value["algo"] == "sha256"
                    and len(content) == value["size"]
                )
                path.write_bytes(content)
        if repository.fault("commit", ("drop",)):
            return self.hang_up()
        oid = repository.commit()
        return self.reply_json(
            {
                "success": True,
                "commitOid": oid,
                "commitUrl": f"{self.server.hub.endpoint}/{repository.name}/commit/{oid}",
            }
        )

    # ---- contents ----------------------------------------------------------------------------

    def hang_up(self, reset: bool = False):
        self.close_connection = True
        if reset:  # what is on its way is lost
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def part(self, size: int) -> tuple[int, int] | None:
        """What was asked for; None if it lies outside."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not match:
            return 0, size
        begin, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
        return (begin, end) if begin < size else None

    def send_file(self, repository: Repository, name: str, file: Path, headers: dict):
        faults = (
            "cut",
            "wrong",
            "endless",
            "stall",
            "no_range",
            "gzip",
            "chunked",
            "unsatisfiable",
            "short",
            "slow",
            "cdn_status",
            "expire",
        )
        fault = repository.fault(name, faults) if self.command == "GET" else {}
        kind, size = fault.get("kind"), file.stat().st_size
        part = (0, size) if kind in ("no_range", "gzip", "chunked") else self.part(size)
        if kind == "cdn_status":
            return self.reply(fault["code"], fault.get("headers", {}), b"no")
        if part is None or (kind == "unsatisfiable" and part[0] > 0):
            return self.reply(416, {"Content-Range": f"bytes */{size}"})
        begin, end = part
        if kind in ("gzip", "chunked", "wrong", "short", "endless"):
            return self.send_changed(fault, file.read_bytes()[begin:end], begin, size, headers)
        self.send_response(206 if "Range" in self.headers and kind != "no_range" else 200)
        if "Range" in self.headers and kind != "no_range":
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - begin))
        for key, value in headers.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if kind in ("cut", "stall", "expire"):
            end = min(end, begin + fault["after"])
        with open(file, "rb") as source:
            self.copy(source, begin, end, fault.get("rate"))
        if kind == "stall":
            time.sleep(fault.get("seconds", 60))
        if kind in ("cut", "stall", "expire"):
            self.hang_up(fault.get("reset", False))
        return None

    def copy(self, source, begin: int, end: int, rate: int | None):
        if isinstance(self.connection, ssl.SSLSocket) or rate:
            source.seek(begin)
            while begin < end and (
                block := source.read(min(end - begin, rate // 10 if rate else BLOCK))
            ):
                self.connection.sendall(block)
                begin += len(block)
                time.sleep(0.1 if rate else 0)
            return
        while begin < end:
            begin += os.sendfile(
                self.connection.fileno(), source.fileno(), begin, min(end - begin, 1 << 30)
            )

    def send_changed(self, fault: dict, body: bytes, begin: int, size: int, headers: dict):
        ranged = "Range" in self.headers and fault["kind"] in ("wrong", "short", "endless")
        headers = dict(headers)
        if ranged:
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        if fault["kind"] == "wrong":
            at = fault.get("at", len(body) // 2)
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        elif fault["kind"] == "short":
            body = body[: -fault.get("bytes", 1)]
        elif fault["kind"] == "gzip":
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        if fault["kind"] not in ("chunked", "endless"):
            return self.reply(206 if ranged else 200, headers, body)
        self.send_response(206 if ranged else 200)
        for key, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(key, str(value))
        self.end_headers()
        blocks = [body[i : i + 65536] for i in range(0, len(body), 65536)]
        for block in blocks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        while fault["kind"] == "endless":
            self.wfile.write(b"%x\r\n%s\r\n" % (65536, bytes(65536)))
        self.wfile.write(b"0\r\n\r\n")
        return None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, hub, is_cdn: bool):
        super().__init__(address, Handler)
        self.hub, self.is_cdn = hub, is_cdn

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError, TimeoutError)):
            super().handle_error(request, client_address)


class Hub:
    """Endpoint and CDN, each in a thread of its own. `endpoint` is what HF_ENDPOINT has to be."""

    def __init__(
        self,
        root,
        large: int = 1_000_000,
        log=None,
        port: int = 0,
        host: str = "127.0.0.1",
        cdn_host: str = "127.0.0.2",
        certificate=None,
        key=None,
    ):
        self.root, self.large, self.log = Path(root), large, log
        self.servers = [Server((host, port), self, False), Server((cdn_host, 0), self, True)]
        scheme = "http"
        if certificate:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            for server in self.servers:
                server.socket = context.wrap_socket(server.socket, server_side=True)
        self.endpoint, self.cdn = (
            f"{scheme}://{s.server_address[0]}:{s.server_address[1]}" for s in self.servers
        )

    def start(self):
        for server in self.servers:
            threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
            ).start()
        return self

    def stop(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


def main() -> int:
    arguments, command = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(description="A Hub on the loopback interface.")
    parser.add_argument("--root", required=True, help="the folder of the repositories")
    parser.add_argument("--port", type=int, default=0, help="of the endpoint; 0: any")
    parser.add_argument(
        "--large", type=int, default=1_000_000, help="bytes from which a file is on the CDN"
    )
    parser.add_argument("--log", help="a file that gets a line of JSON for each request")
    parser.add_argument("--certificate", help="serve over TLS with this certificate")
    parser.add_argument("--key", help="of the certificate")
    parser.add_argument("--until-eof", action="store_true", help="run until standard input ends")
    options = parser.parse_args(arguments)
    hub = Hub(
        options.root,
        options.large,
        options.log,
        options.port,
        certificate=options.certificate,
        key=options.key,
    ).start()
    if command:
        status = subprocess.run(command, env={**os.environ, "HF_ENDPOINT": hub.endpoint}).returncode
        hub.stop()
        return status
    print(hub.endpoint, flush=True)
    try:
        sys.stdin.read() if options.until_eof else threading.Event().wait()
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
