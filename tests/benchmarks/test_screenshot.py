"""A picture of a page."""

import PIL.Image
import pytest

from benchmarks import screenshot
from ns_jax.errors import UserError
from tests.report.test_browser import BROWSER


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_it_is_as_large_as_the_window(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<body style="background: rgb(10, 200, 30)">')
    screenshot.take(page, tmp_path / "pictures" / "page.png", 300, 200)
    with PIL.Image.open(tmp_path / "pictures" / "page.png") as picture:
        assert picture.size == (300, 200) and picture.convert("RGB").getpixel((150, 100)) == (10, 200, 30)


def test_no_page(tmp_path, monkeypatch):
    monkeypatch.setattr(screenshot.shutil, "which", lambda name: "/bin/true")
    with pytest.raises(UserError, match="nothing.html does not exist"):
        screenshot.take(tmp_path / "nothing.html", tmp_path / "page.png", 300, 200)
    monkeypatch.setattr(screenshot.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="install the package chromium"):
        screenshot.take(tmp_path / "nothing.html", tmp_path / "page.png", 300, 200)
