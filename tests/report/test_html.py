from __future__ import annotations

import json
import math
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from reports import make_crystals, make_facts, make_report

from matgl_fill.errors import InputError
from matgl_fill.guard import Check
from matgl_fill.report.html import (
    count,
    draw_thumbnails,
    duration,
    limit,
    model_card,
    notebook_summary,
    rebuild_report,
    relative,
    signed,
    significant,
    used,
    write_report,
)
from matgl_fill.report.model import RunReport
from matgl_fill.report.pictures import draw_pictures, latent_map, loss_curves, task_bars
from matgl_fill.report.thumbnails import MAX_SPHERES, thumbnail
from matgl_fill.structures import write_structures

HOSTILE = "<script>alert('1')</script>&\"<b>$x_"
VOID = {"meta", "link", "br", "hr", "img", "input"}
SECTIONS = ("tasks", "guard", "roughness", "history", "proposals", "skipped", "config")


@pytest.fixture(scope="module")
def report() -> RunReport:
    return make_report()


@pytest.fixture(scope="module")
def pictures(report) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return draw_pictures(report)


class Page(HTMLParser):
    """Checks nesting; collects tags, ids, URLs and text in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def read(path: Path) -> tuple[str, Page]:
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_report_says_everything_and_the_verdict_first(report, pictures, tmp_path):
    path = write_report(report, tmp_path / "new", pictures, draw_thumbnails(make_crystals(report)))
    assert path == tmp_path / "new" / "report.html"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    text, page = read(path)
    assert len(text) < 1_000_000
    body = text[text.index("<body>") :]
    verdict = body.index("Accepted, interpolated back to weight 0.75")
    assert body.index("<h1>") < verdict < min(body.index("<table"), body.index("<svg"))
    for task in report.tasks:
        assert f'<th scope="row">{task.name}</th>' in text
    for proposal in report.proposals:
        assert f">{proposal.id}<" in text
        assert proposal.parent in page.words
    for expected in ("+3.4 %", "−1.7 %", "≤ 0.05", "≥ 0.9", "✗ not held", "3 min 7 s", "two atoms share a site"):
        assert expected in page.words.replace("\N{NO-BREAK SPACE}", " ")
    for expected in ("lr = 0.002", "Ba→Sr, O→S", "matgl 4.1.2", "−10.0", "42 % of the budget"):
        assert expected in page.words.replace("\N{NO-BREAK SPACE}", " ")


def test_page_is_accessible(report, pictures, tmp_path):
    text, page = read(write_report(report, tmp_path, pictures, draw_thumbnails(make_crystals(report))))
    assert ("html", "lang", "en") in page.attributes
    assert page.tags.count("h1") == 1
    assert page.tags.count("caption") == page.tags.count("table") == 5
    assert all("scope=" in tag for tag in re.findall(r"<th\b[^>]*>", text))
    scrolling = re.findall(r'<div class="scroll[^>]*>', text)
    assert len(scrolling) == page.tags.count("table") + page.tags.count("pre")
    assert all('tabindex="0"' in tag and 'role="region"' in tag and "aria-label" in tag for tag in scrolling)
    titles = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"><title>([^<]+)</title>', text)
    assert len(titles) == page.tags.count("svg") == 4 + 3 + 100
    assert all(label == title for label, title in titles)
    assert len(set(titles)) == len(titles)
    headings = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert max(np.diff(headings)) <= 1
    assert ":focus-visible" in text
    assert "@media print" in text
    assert "prefers-color-scheme: dark" in text
    labels = [value for _, name, value in page.attributes if name == "aria-labelledby"]
    assert set(labels) <= set(page.ids)
    assert '<a class="skip" href="#content">' in text
    assert "content" in page.ids


def test_report_fetches_nothing(report, pictures, tmp_path):
    text, page = read(write_report(report, tmp_path, pictures))
    for tag, name, value in page.attributes:
        if name.split(":")[-1] in {"src", "href", "srcset", "data", "action", "poster"}:
            assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
        assert not name.startswith("on")
        assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", value))
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "@import" not in text
    assert "@font-face" not in text
    for url in re.findall(r"[a-z]+://[^\s\"'<>]+", text):
        assert url in {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_references_inside_pictures_resolve(report, pictures, tmp_path):
    text, page = read(write_report(report, tmp_path, pictures))
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(page.ids)


def test_hostile_text_is_escaped(tmp_path):
    report = make_facts()
    report["title"] = report["run"]["model"] = report["verdict"]["headline"] = HOSTILE
    report["verdict"]["worst_task"] = report["tasks"][0]["name"] = report["guard"][0]["measure"] = HOSTILE
    report["tasks"][0]["probes"][HOSTILE] = 1.0
    report["run"]["stages"][HOSTILE] = 1.0
    report["run"]["versions"][HOSTILE] = HOSTILE
    report["history"][HOSTILE] = report["history"].pop("replay")
    report["proposals"][0] |= {"formula": HOSTILE, "parent": "\udcff" + HOSTILE}
    report["skipped"][0] = {"where": HOSTILE, "reason": HOSTILE}
    report["call"]["model"] = HOSTILE
    crystals = {HOSTILE: Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]])}
    report["proposals"][0]["id"] = HOSTILE
    report["alignment"] = {"unexplained_eV_per_atom": 0.1, "shifts_eV_per_atom": {HOSTILE: 1.0}, "crystals": 3}
    report = RunReport.model_validate(report)
    assert "<script" not in notebook_summary(report)
    text, page = read(write_report(report, tmp_path, draw_pictures(report), draw_thumbnails(crystals)))
    assert "<script" not in text
    assert "<b>" not in text
    assert not {"script", "b"} & set(page.tags)
    assert page.words.count("<script>alert('1')</script>&\"<b>$x_") >= 10


@pytest.mark.parametrize("absent", SECTIONS)
def test_absent_sections_are_left_out(report, pictures, tmp_path, absent):
    picture = {"tasks": "task_bars", "history": "loss_curves"}.get(absent)
    some = {name: svg for name, svg in pictures.items() if name != picture}
    text, _ = read(write_report(report.model_copy(update={absent: None}), tmp_path, some))
    missing = RunReport.model_validate({key: value for key, value in make_facts().items() if key != absent})
    assert read(write_report(missing, tmp_path, some))[0] == text
    word = {"history": "<h2>Training", "tasks": "<h2>Downstream"}
    word |= {"proposals": "<h2>Generated", "config": "<h2>Configuration", "skipped": "<h2>Skipped"}
    assert word.get(absent, f"<h2>{absent.capitalize()}") not in text
    assert text.count("<section") == read(write_report(report, tmp_path, pictures))[0].count("<section") - 1


def test_a_run_and_its_verdict_alone_are_a_page(tmp_path):
    some = {key: make_facts()[key] for key in ("run", "verdict")}
    text, page = read(write_report(RunReport.model_validate(some), tmp_path, {}))
    assert "None" not in text
    assert not {"table", "svg"} & set(page.tags)


def test_refused_model_says_why(report, tmp_path):
    verdict = {
        "accepted": False,
        "headline": "not accepted: the original model is returned",
        "reasons": ["at weight 0.25: prediction drift over budget"],
        "mean_change_percent": None,
        "worst_task": None,
        "worst_change_percent": None,
        "alpha": 0.0,
    }
    text, page = read(
        write_report(RunReport.model_validate(make_facts() | {"verdict": verdict, "tasks": None}), tmp_path, {})
    )
    assert "Original returned No weight of the tuned model keeps every budget" in page.words
    assert "at weight 0.25: prediction drift over budget" in page.words
    assert "None" not in text
    assert "Worst task" not in text


def test_same_input_same_bytes(report, pictures, tmp_path):
    first = write_report(report, tmp_path / "a", pictures).read_bytes()
    assert write_report(make_report(), tmp_path / "b", draw_pictures(make_report())).read_bytes() == first


def test_pictures_are_well_formed_small_and_deterministic(report, pictures):
    again = draw_pictures(report)
    for name, svg in pictures.items():
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert root[0].text
        assert svg.startswith("<svg")
        assert len(svg) < 600_000
        assert again[name] == svg
    assert "local roughness" in pictures["map_before"]
    assert "data:image/png;base64," in pictures["map_after"]
    assert "target" in pictures["map_before"]
    assert "target" not in pictures["map_after"]
    assert "dielectric" in pictures["task_bars"]
    assert "−1.7 %" in pictures["task_bars"]
    assert all(term in pictures["loss_curves"] for term in report.history)


def test_pictures_leave_no_trace_and_ignore_the_readers_style(report, pictures):
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "text.usetex": True}):
        before = dict(mpl.rcParams)
        assert draw_pictures(report) == pictures
        assert dict(mpl.rcParams) == before


@pytest.mark.filterwarnings("error")
def test_pictures_of_odd_data():
    nothing = np.empty((0, 2))
    svgs = [
        latent_map(np.zeros((1, 2)), np.array([np.nan]), nothing, nothing),
        latent_map(np.zeros((3, 2)), np.ones(3), np.zeros((1, 2)), nothing),
        task_bars(
            [HOSTILE + "\x00 " + "long " * 30, "硬度", ""], [0.0, math.nan, -250.0], [1.0, math.nan, -300.0], [2, 1, 0]
        ),
        loss_curves({"_one": [0.5]}),
        loss_curves({"zero": [0.0, 0.0], "nan": [math.nan, math.inf]}),
        loss_curves({f"term {k}": [1e-9 * 10**k, 1.0] for k in range(9)}),
        loss_curves({"flat": [0.25, 0.25, 0.25]}),
    ]
    for svg in svgs:
        ElementTree.fromstring(svg)
    assert "…" in svgs[2]
    assert "硬度" in svgs[2]
    assert "_one" not in svgs[3]
    assert "one" in svgs[3]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: latent_map(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), np.zeros((0, 2))), "0 points"),
        (lambda: latent_map(np.zeros((3, 2)), np.zeros(2), np.zeros((0, 2)), np.zeros((0, 2))), r"shape \(2,\)"),
        (lambda: task_bars([], [], [], []), "at least one task"),
        (lambda: task_bars(["a"], [1.0], [0.0], []), "an interval for each"),
        (lambda: loss_curves({}), "at least one term"),
        (lambda: loss_curves({"replay": []}), "at least one value of each"),
    ],
)
def test_pictures_refuse_data_that_do_not_fit(draw, message):
    with pytest.raises(InputError, match=message):
        draw()


def test_numbers_in_words():
    assert [significant(x) for x in (-0.000123456, -12345.6, 1e7, None, math.nan)] == [
        "−0.0001235",
        "−12346",
        "1e+07",
        "–",
        "–",
    ]
    assert [signed(x) for x in (1.25, np.float32(-0.5), None, math.inf)] == ["+1.2", "−0.5", "–", "–"]
    assert count(1234567) == "1\u202f234\u202f567"
    assert [duration(x) for x in (3.21, 125.4, 3840.0, None)] == ["3.2 s", "2 min 5 s", "1 h 4 min", "–"]
    assert [relative(1.5, 1.0), relative(1.0, 0.0), relative(None, 1.0)] == ["+50.0\u00a0%", "–", "–"]
    assert limit(Check("recovered", 0.8, 0.9, "R2", False)) == "≥\u00a00.9"


def test_budget_used_counts_towards_either_limit():
    assert used(Check("", 0.021, 0.05, "", True)) == pytest.approx(42)
    assert used(Check("", 0.97, 0.9, "", True)) == pytest.approx(30)
    assert used(Check("", 0.8, 0.9, "", False)) == pytest.approx(200)
    assert used(Check("", -3.0, 1.0, "", True)) == 0
    assert used(Check("", 0.1, 0.0, "", False)) is None


def test_thumbnail_draws_atoms_where_they_are_and_small():
    salt = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    svg = thumbnail(salt, "fill-0001")
    root = ElementTree.fromstring(svg)
    circles = [c for c in root.iter() if c.tag.endswith("circle")]
    colours = [c.get("fill") for c in circles]
    assert (colours.count("#ab5cf2"), colours.count("#1ff01f")) == (8, 1)
    centre = circles[colours.index("#1ff01f")]
    assert (float(centre.get("cx")), float(centre.get("cy"))) == (50.0, 50.0)
    assert all(0 <= float(c.get(k)) <= 100 for c in circles for k in ("cx", "cy"))
    assert root[0].text == "fill-0001: NaCl, 2 atoms, cell 4.0 × 4.0 × 4.0 Å"
    large = thumbnail(salt * (6, 6, 6), "large")
    assert large.count("<circle") == MAX_SPHERES
    assert "only the nearest atoms are drawn" in large


def test_hundred_large_crystals_stay_a_small_page(report, pictures, tmp_path):
    salt = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]) * (4, 4, 4)
    thumbnails = draw_thumbnails(dict.fromkeys(make_crystals(report), salt))
    assert write_report(report, tmp_path, pictures, thumbnails).stat().st_size < 2_000_000


def test_report_is_rebuilt_from_its_files_alone(report, pictures, tmp_path):
    crystals = make_crystals(report)
    written = write_report(report, tmp_path / "a", pictures, draw_thumbnails(crystals)).read_bytes()
    (tmp_path / "a" / "report.json").write_text(report.to_json())
    write_structures(
        crystals.values(), tmp_path / "a" / "proposals.extxyz", info=[dict(row) for row in report.proposals]
    )
    (tmp_path / "a" / "report.html").unlink()
    assert rebuild_report(tmp_path / "a").read_bytes() == written
    (tmp_path / "a" / "proposals.extxyz").unlink()
    assert 'gallery"' not in rebuild_report(tmp_path / "a").read_text()


@pytest.mark.parametrize("text", ["", "[]", "3", '{"run": 3}', '{"tasks": [{"name": "x"}]}', '{"maps": {"before": 1}}'])
def test_what_is_no_report_is_refused(text, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match="is no report of matgl_fill"):
        rebuild_report(tmp_path)
    with pytest.raises(InputError, match=r"no report\.json in"):
        rebuild_report(tmp_path / "nothing")


def test_card_and_notebook_tell_verdict_first_and_what_was_done(report):
    card, page = model_card(report), Page(notebook_summary(report))
    assert card.index("Accepted, interpolated back to weight 0.75") < card.index("|")
    assert page.words.index("Accepted, interpolated back to weight 0.75") < 5
    for task in report.tasks:
        assert f"| {task.name} | {task.unit} |" in card
        assert task.name in page.words
    for word in ("| seed | 0 |", "TensorNet-MatPES", "matgl.load_model", "lr = 0.002", "arXiv:2502.13886", "−1.7 %"):
        assert word in card
    assert "matgl-fill run 'base model' pool.cif --config config.toml -n 100 --seed 0 -o out" in card
    assert all("scope=" in tag for tag in re.findall(r"<th\b[^>]*>", notebook_summary(report)))
    no = report.verdict.model_copy(update={"accepted": False, "headline": "not accepted: no"})
    refused = report.model_copy(update={"verdict": no})
    assert "The weights here are the original's" in model_card(refused)


def test_a_report_says_in_which_format_it_is_and_numbers_that_are_none_come_back(report, tmp_path):
    odd = report.verdict.model_copy(update={"mean_change_percent": math.inf})
    (tmp_path / "report.json").write_text(report.model_copy(update={"verdict": odd}).to_json())
    assert json.loads((tmp_path / "report.json").read_text())["format_version"] == 1
    assert RunReport.read(tmp_path / "report.json").verdict.mean_change_percent == math.inf
    (tmp_path / "report.json").write_text(report.to_json().replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(InputError, match="is no report of matgl_fill"):
        RunReport.read(tmp_path / "report.json")
