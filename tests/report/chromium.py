"""Opens reports in headless Chromium: chromium.py COMMAND SOURCE

The pages of a merge of 400 tensors, a search of 500 trials and hostile names are loaded at 400 and
1,600 pixels, in the light and the dark theme. There must be no message on the console, no scrolling
of the page to the side, and a contrast of 4.5 of all cells of heat maps; tables must sort; and
loading must take less than a second.
"""

import functools
import http.server
import json
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

# Runs beside the report in a frame; the report's own policy stays in force in the frame.
PROBE = """<!DOCTYPE html><title>probe</title><body><iframe src="PAGE" style="width:WIDTHpx;
height:3000px"></iframe><pre id=out></pre><script>
const luminance = c => c.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
onload = () => {
    const frame = document.querySelector('iframe').contentWindow, page = frame.document;
    const contrasts = [...page.querySelectorAll('.heat td[class]')].map(cell => {
        const style = frame.getComputedStyle(cell);
        const [a, b] = [style.color, style.backgroundColor].map(luminance).sort((x, y) => y - x);
        return (a + .05) / (b + .05); });
    const sorted = [...page.querySelectorAll('.sortable button')].slice(0, 2).map(button => {
        button.click(); button.click(); /* descending */
        return page.querySelector('.sortable tbody tr').textContent; });
    const timing = frame.performance.getEntriesByType('navigation')[0];
    document.getElementById('out').textContent = JSON.stringify({
        milliseconds: timing.loadEventEnd - timing.responseEnd, sorted,
        beyond: page.documentElement.scrollWidth - page.documentElement.clientWidth,
        contrast: contrasts.length ? Math.min(...contrasts) : 21,
        background: luminance(frame.getComputedStyle(page.body).backgroundColor),
        alerts: page.querySelectorAll('img, iframe, [onload], [onclick]').length,
        circles: page.querySelectorAll('circle').length}); };
</script>"""


def browse(address: str, dark: bool) -> tuple[dict[str, object], list[str]]:
    """What the probe found, and the messages on the console."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             f"--user-data-dir={profile}", "--window-size=1700,3000",
             f"--blink-settings=preferredColorScheme={0 if dark else 1}",
             "--enable-logging=stderr", "--dump-dom", address],
            capture_output=True, text=True, timeout=120)
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r"<pre id=\"out\">(.+?)</pre>", done.stdout, re.S)
    if not found:
        raise SystemExit(f"{address}: no result\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(text), messages


def make_pages(command: Path, source: Path, folder: Path) -> list[str]:
    def run(*arguments: object) -> None:
        subprocess.run([str(a) for a in arguments], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    journal, models = source / "tests/report/journal.py", source / "examples/models"
    run(sys.executable, journal, 500, "search.jsonl")
    run(sys.executable, journal, 60, "hostile.jsonl", "hostile")
    tensors = [f"encoder.layer.{i}.{part}.weight:8x8:{n}" for i in range(100)
               for part in ("attention.self.query", "attention.self.key", "output.dense",
                            "intermediate.dense") for n in (i % 7 + 1,)]
    for name, scale in (("a", 1), ("b", 2), ("base", 3)):
        (folder / name).mkdir()
        values = [re.sub(r"\d+$", lambda m: str(int(m[0]) * scale), t) for t in tensors]
        run(command.parent / "cli_helper", "model", f"{name}/model.safetensors", *values)
        (folder / name / "config.json").write_text('{"model_type": "bert"}')
    run(command, "merge", "ties", "a", "b", "--base", "base", "-o", "large")
    run(command, "merge", "ties", models / "rte-1", models / "rte-2", models / "rte-3", "--base",
        models / "base", "-o", "merged")
    run(command, "report", "large", "--journal", "search.jsonl", "-o", "large.html")
    run(command, "report", "merged", "-o", "merged.html")
    run(command, "report", "hostile.jsonl", "--no-compare", "-o", "hostile.html")
    return ["large", "merged", "hostile"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def main() -> None:
    command, source = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = make_pages(command, source, folder)
        handler = functools.partial(Quiet, directory=name)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for page in pages:
            for width, dark in ((400, False), (1600, True)):
                text = PROBE.replace("PAGE", f"{page}.html").replace("WIDTH", str(width))
                (folder / "probe.html").write_text(text)
                address = f"http://127.0.0.1:{server.server_port}/probe.html"
                found, messages = browse(address, dark)
                for _ in range(2):  # other processes may be in the way
                    if float(found["milliseconds"]) >= 1000:
                        found, messages = browse(address, dark)
                shown = {k: v for k, v in found.items() if k != "sorted"}
                print(page, width, "dark" if dark else "light", shown, flush=True)
                assert not messages, messages
                assert 0 < float(found["milliseconds"]) < 1000
                assert float(found["beyond"]) <= 0
                assert float(found["contrast"]) >= 4.5
                assert (float(found["background"]) < 0.1) == dark
                assert found["alerts"] == 0
                if page == "large":
                    assert found["sorted"][0].startswith("500"), found["sorted"]
                    assert re.match(r"\d+0\.6", found["sorted"][1]), found["sorted"]
        server.shutdown()


main()
