"""Uploads the same folder with huggingface_hub and with mergecraft, and compares what they do.

    upload.py COMMAND        with huggingface_hub; COMMAND is the built mergecraft

Both must leave the same files, and send the same JSON: preupload, LFS batch, completion of parts,
verification and commit. Differences that are meant are removed before the comparison; see same().
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/hub"))
from server import Hub  # noqa: E402

COMMAND = str(Path(sys.argv[1]).resolve())
WORK = Path(tempfile.mkdtemp(prefix="mergecraft-upload-"))


def make_folder():
    folder = WORK / "model"
    shutil.copytree(REPOSITORY / "examples/models/rte-1", folder)
    (folder / "sub").mkdir()
    (folder / "sub/data.bin").write_bytes(bytes(range(256)) * 100)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Über\n")
    (folder / "empty.txt").write_text("")
    (folder / "empty.safetensors").write_text("")
    return folder


def with_package(endpoint, folder, name, private):
    os.environ.update(
        HF_ENDPOINT=endpoint,
        HF_TOKEN="hf_write",
        HF_HUB_DISABLE_XET="1",
        HF_HOME=str(WORK / "home"),
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    code = (
        "import sys; from huggingface_hub import HfApi; api = HfApi(); f, n, p = sys.argv[1:];"
        "api.create_repo(n, private=p == 'yes' or None, exist_ok=True);"
        "api.upload_folder(repo_id=n, folder_path=f, commit_message='One',"
        " ignore_patterns=['.*'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), name, "yes" if private else "no"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def with_mergecraft(endpoint, folder, name, private):
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_write"}
    options = ["--private"] if private else []
    subprocess.run(
        [COMMAND, "upload", folder, name, "-m", "One", "-q", *options], check=True, env=environment
    )


def tree(root):
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name != ".hub.json"
    }


def same(line, name):
    """A request in a form in which both clients' are equal."""
    path = line["path"].replace(name, "ORG/NAME").partition("?")[0]
    if line["method"] not in ("POST", "PUT") or "validate-yaml" in path:
        return None
    body = [json.loads(part) for part in (line["body"] or "").splitlines()]
    for part in body:
        part.pop("private", None)  # sent for servers that do not know "visibility"
        if "name" in part:
            part["name"] = part["organization"] = ""
        for key in ("files", "objects"):
            if key in part:
                part[key].sort(key=lambda entry: json.dumps(entry, sort_keys=True))
    body.sort(key=lambda part: json.dumps(part, sort_keys=True))
    kind = line["headers"].get("Content-Type") if body else None
    return line["method"], path, kind, body


def run(title, control, private=False, again=False):
    root, requests, trees = WORK / title / "root", [], []
    for number, client in enumerate((with_package, with_mergecraft)):
        log, name = WORK / title / f"log{number}", f"org/{client.__name__.replace('_', '-')}"
        shutil.rmtree(root / ".lfs", ignore_errors=True)
        root.mkdir(parents=True, exist_ok=True)
        if control:
            (root / name).mkdir(parents=True)
            (root / name / ".hub.json").write_text(json.dumps(control))
        hub = Hub(root, log=str(log)).start()
        for _ in range(2 if again else 1):
            log.write_text("")
            client(hub.endpoint, FOLDER, name, private)
        hub.stop()
        requests.append([same(json.loads(line), name) for line in log.read_text().splitlines()])
        trees.append((tree(root / name), json.loads((root / name / ".hub.json").read_text())))
    # The package creates a repository without looking for it first.
    wanted, found = ([r for r in list if r and "/repos/create" not in r[1]] for list in requests)
    assert trees[0] == trees[1], f"{title}: the repositories differ"
    assert trees[1][0] == tree(FOLDER), f"{title}: the repository has other files than the folder"
    wanted, found = (
        sorted(json.dumps(r, sort_keys=True) for r in list) for list in (wanted, found)
    )
    missing, further = set(wanted) - set(found), set(found) - set(wanted)
    # The second time the package asks again for the storage of files that did not change.
    assert not further and (again or not missing), f"{title}: expected {missing}\nfound {further}"
    assert not again or len(found) == 1, f"{title}: more than the question what changed"
    print(f"{title}: {len(found)} requests are the same")


FOLDER = make_folder()
run("new", None)
run("private", None, private=True)
run("multipart", {"multipart": 300000})
run("verify", {"verify": True})
run("again", None, again=True)
shutil.rmtree(WORK)
