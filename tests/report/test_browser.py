"""The page in a real browser: Chromium, without a screen. Skipped where there is none."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import PIL.Image
import pytest

from ns_jax.report.page.run_data import read_run
from ns_jax.report.page.write import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
PHONE, DESKTOP = 390, 1280  # px

# A page around the page, of the same origin, which says what it finds in it.
AROUND = """<!DOCTYPE html><title>measure</title>
<iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const inner = document.querySelector("iframe").contentWindow, root = inner.document.documentElement;
  const images = [...inner.document.images];
  const wide = [...inner.document.querySelectorAll("body *")].filter(
    (element) => element.getBoundingClientRect().right > {width} + 1 && !element.closest(".scroll, pre, svg"));
  const said = document.createElement("pre");
  said.id = "measured";
  said.textContent = JSON.stringify({{
    width: root.scrollWidth, view: root.clientWidth, height: root.scrollHeight,
    images: images.length, decoded: images.filter((image) => image.complete && image.naturalWidth > 0).length,
    requests: inner.performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 40))
      .filter((name) => !name.startsWith("data:")),
    wide: wide.map((element) => element.outerHTML.slice(0, 80)),
    charts: [...inner.document.querySelectorAll("svg")].map((chart) => chart.getBoundingClientRect().width),
  }});
  document.body.append(said);
}});
</script>"""


def browse(tmp_path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs the browser to its end, without the network."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--hide-scrollbars", "--proxy-server=127.0.0.1:9", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--virtual-time-budget=5000", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def text(made_run):
    return page(read_run(made_run))


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_it_fits_and_its_images_decode(text, tmp_path, width):
    around = tmp_path / "around.html"
    around.write_text(AROUND.format(width=width, page=html.escape(text)))
    process = browse(tmp_path, "--dump-dom", "--window-size=1600,1000", around.as_uri())
    measured = json.loads(html.unescape(re.search(r'<pre id="measured">(.*?)</pre>', process.stdout, re.DOTALL)[1]))
    assert measured["view"] == width and measured["width"] <= width and not measured["wide"], measured
    assert measured["images"] == measured["decoded"] > 40
    assert not measured["requests"]
    assert len(measured["charts"]) >= 5 and min(measured["charts"]) > 300
    assert 2000 < measured["height"] < 20_000


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_drawn_without_complaints(text, tmp_path, dark):
    path, picture = tmp_path / "index.html", tmp_path / "picture.png"
    path.write_text(text)
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    process = browse(tmp_path, f"--screenshot={picture}", f"--window-size={DESKTOP},2000", *scheme, path.as_uri())
    assert "CONSOLE" not in process.stderr, process.stderr
    pixels = np.asarray(PIL.Image.open(picture).convert("RGB"), int)
    assert pixels.shape == (2000, DESKTOP, 3)
    background = pixels[5, 5].mean()
    assert background < 60 if dark else background == 255
    # Text stands out from the background, and the charts have their colour.
    assert np.abs(pixels.mean(-1) - background).max() > 150
    assert (np.abs(pixels - np.array([0x0D, 0x7F, 0xC4])).sum(-1) < 10).sum() > 200


def test_a_complaint_would_be_noticed(tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'"><img src="http://a.b/c">'
    )
    assert "CONSOLE" in browse(tmp_path, "--dump-dom", path.as_uri()).stderr
