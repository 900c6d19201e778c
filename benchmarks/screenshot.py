"""A picture of a run's page, by Chromium without a screen.

python -m benchmarks.screenshot --page=DIR/report/index.html --to=docs/images/page.png [--width=1000] [--height=1400]
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from absl import app, flags

from ns_jax.errors import UserError

FLAGS = flags.FLAGS
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def take(page: Path, to: Path, width: int, height: int) -> None:
    """Writes the top of a page as a PNG, in light colours.

    Args:
      page: an HTML file.
      to: the picture.
      width, height: of the window, pixels.

    Raises:
      UserError: there is no Chromium, or no such page.
      CalledProcessError: it failed.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError("there is no Chromium: install the package chromium")
    if not page.exists():
        raise UserError(f"{page} does not exist")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size={width},{height}",
            f"--screenshot={to.resolve()}", page.resolve().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def define_flags() -> None:
    flags.DEFINE_string("page", None, "An HTML file.", required=True)
    flags.DEFINE_string("to", None, "Where the picture goes.", required=True)
    flags.DEFINE_integer("width", 1000, "Of the window, pixels.")
    flags.DEFINE_integer("height", 1400, "Of the window, pixels.")


def main(argv) -> None:
    del argv
    take(Path(FLAGS.page), Path(FLAGS.to), FLAGS.width, FLAGS.height)


if __name__ == "__main__":
    define_flags()
    app.run(main)
