"""What fill_tune hands back: shown, saved, pushed to a hub, undone."""

from __future__ import annotations

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import matgl
import matgl.utils.io as matgl_io
import numpy as np
import pytest
from rich.console import Console

import matgl_fill as mf
from matgl_fill.config.config import FillConfig
from matgl_fill.evaluation import read_tasks
from matgl_fill.report.html import rebuild_report
from matgl_fill.report.model import RunReport
from matgl_fill.structures import bundled


@pytest.fixture(scope="module")
def result(model, pool):
    tasks = read_tasks(bundled.EVALUATION, bundled.TASKS[:1])
    config = {"steps": 5, "copies": 1, "replay_size": 40}
    return mf.fill_tune(model, pool.subset(range(60)), n=3, seed=4, config=config, tasks=tasks, name="base")


@pytest.fixture(scope="module")
def saved(result, tmp_path_factory):
    return result.save(tmp_path_factory.mktemp("saved"))


def test_every_way_of_showing_it_tells_the_verdict(result):
    headline = result.report.verdict.headline
    assert headline in repr(result)
    assert len(repr(result)) < 200
    assert f"guard: {headline}" in " ".join(str(result).split())
    assert "frustration" in str(result)
    assert "\x1b" not in str(result)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(result)
    assert "frustration" in shown.get()
    html = result._repr_html_()
    assert html.index(headline.capitalize()) < html.index("<table")
    assert "log volume per atom" in html
    assert len(html) < 10_000
    assert not re.search(r"<script|https?://", html)


def test_undo_gives_the_callers_own_model(result, model):
    assert result.undo() is model


def test_saved_folder_is_complete_and_its_card_says_what_was_done(result, saved, pool):
    assert {p.name for p in saved.iterdir()} == {
        "model", "proposals.extxyz", "cif", "config.toml", "report.json", "report.html",
    }  # fmt: skip
    assert FillConfig.make(saved / "config.toml") == result.report.config
    assert RunReport.read(saved / "report.json") == result.report
    assert json.loads((saved / "report.json").read_text())["format_version"] == 1
    card = (saved / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: matgl\n")
    for word in (
        "base model | base (MEGNet)",
        "| seed | 4 |",
        "| generated crystals | 3 |",
        "steps = 5",
        "frustration",
    ):
        assert word in card
    for check in result.report.guard:
        assert f"| {check.measure} |" in card
    stated = json.loads((saved / "model" / "model.json").read_text())["metadata"]["matgl_fill"]
    assert (stated["seed"], stated["n"], stated["accepted"]) == (4, 3, result.accepted)
    again = matgl.load_model(str(saved / "model"))
    np.testing.assert_array_equal(mf.embed(again, pool.structures[:5]), mf.embed(result.model, pool.structures[:5]))


def test_report_of_a_run_is_the_same_when_rebuilt(saved):
    written = (saved / "report.html").read_text()
    rebuilt = rebuild_report(saved).read_text()
    assert written.count("<circle") == rebuilt.count("<circle") > 3
    assert "map-after" in written or "Original returned" in written
    assert re.sub(r"<circle[^>]*>", "", rebuilt) == re.sub(r"<circle[^>]*>", "", written)


class Hub(BaseHTTPRequestHandler):
    """As much of a hub, on this machine, as the official client needs to make a repository and commit files to it."""

    asked: list[tuple[str, str, bytes]]

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.path, self.headers.get("Authorization", ""), body))
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif "/commit/" in self.path:
            done = {"commitUrl": f"{self.server.url}/me/filled/commit/1", "commitOid": "1", "success": True}
            self.answer(200, done | {"pullRequestUrl": None, "hookOutput": ""})
        else:
            self.answer(200, {"url": f"{self.server.url}/me/filled", "name": "me/filled", "id": "1"})

    def answer(self, code, content, headers=None):
        data = json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch):
    """The official client pointed at a hub of our own on the loopback address."""
    handler = type("OneHub", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    monkeypatch.setattr(matgl_io.create_repo.__self__, "endpoint", server.url)
    yield handler.asked
    server.shutdown()
    server.server_close()


def test_push_commits_weights_and_card_with_the_official_client(result, saved, hub):
    address = result.push_to_hub("me/filled", token="hf_none", private=True)
    assert address.endswith("/me/filled/commit/1")
    made = next(json.loads(body) for path, _, body in hub if path.endswith("/api/repos/create"))
    assert made["name"] == "filled"
    assert made.get("visibility") == "private" or made.get("private")
    commit = next(body for path, _, body in hub if "/commit/" in path)
    files = {}
    for line in commit.decode().splitlines():
        entry = json.loads(line)
        if entry["key"] == "file":
            files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
    assert set(files) == {"model.pt", "state.pt", "model.json", "README.md"}
    card = files["README.md"].decode()
    assert card.count("library_name: matgl") == 1
    assert result.card.strip() in card
    assert json.loads(files["model.json"])["metadata"] == result.metadata
    assert all(token == "Bearer hf_none" for _, token, _ in hub)
