"""Models by name: misspelt ones, a hub that cannot be reached, and one that does not have them."""

from __future__ import annotations

import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import matgl.utils.io
import pytest

import matgl_fill as mf
from matgl_fill.errors import ModelError
from matgl_fill.structures import bundled


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Has the hub's client ask another address, and keep what it downloads in a folder of the test's own."""
    monkeypatch.setattr(matgl.utils.io, "MATGL_CACHE", tmp_path / "cache")

    def at(address: str) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

    return at


@pytest.fixture
def empty_hub():
    """Address of a server that has no repository and lists none."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self):
            listing = self.path.startswith("/api/models?")
            self.send_response(200 if listing else 404)
            self.send_header("Content-Type", "application/json")
            if not listing:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "2")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"[]" if listing else b"{}")

        do_HEAD = do_GET  # noqa: N815, the name that http.server looks for

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("name", "meant"), [("defualt", "default"), ("Default", "default"), ("potentail", "potential")]
)
def test_a_misspelt_name_is_told_before_the_hub_is_asked(name, meant, hub):
    hub(NOWHERE)
    with pytest.raises(ModelError, match=f"no model '{name}'; did you mean '{meant}'"):
        mf.load_model(name)


@pytest.mark.parametrize("name", ["M3GNet-MatPES-PBE-v2025.2-PES", "owner/NoSuchModel"])
def test_a_hub_that_is_not_reached_is_told_at_once_and_once(name, hub, caplog, capfd):
    hub(NOWHERE)
    start = time.perf_counter()
    with pytest.raises(ModelError, match=f"no folder '{name}', and the Hugging Face Hub.* cannot be reached"):
        mf.load_model(name)
    assert time.perf_counter() - start < 5
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["NoSuchModel", "owner/NoSuchModel", "no--name"])
def test_a_name_that_the_hub_does_not_have(name, hub, empty_hub):
    hub(empty_hub)
    with pytest.raises(ModelError, match=f"no folder '{name}', and the hub gives no model of that name"):
        mf.load_model(name)


def test_what_was_downloaded_earlier_serves_without_the_hub(hub, tmp_path):
    hub(NOWHERE)
    repository = tmp_path / "cache/models--materialyze--MEGNet-of-the-hub"
    shutil.copytree(bundled.MODEL, repository / "snapshots/0123")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("0123")
    assert mf.get_adapter(mf.load_model("MEGNet-of-the-hub")).name == mf.get_adapter(mf.load_model("default")).name
