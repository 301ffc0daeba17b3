"""Debian's chromium without a window, for pages that must work in a browser."""

from __future__ import annotations

import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-web-security", "--disable-gpu", "--enable-logging=stderr")

# What a reader without a mouse, or with another taste, would miss, as JSON in the page's last element.
LOOKS = """
const shades = color => { const [r, g, b] = color.match(/[\\d.]+/g).map(v => (v /= 255) <= .03928 ? v / 12.92
  : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
const over = (one, other) => { const [low, high] = [shades(one), shades(other)].sort((a, b) => a - b);
  return (high + .05) / (low + .05); };
const all = query => [...document.querySelectorAll(query)], of = getComputedStyle, paper = of(document.body);
const resolved = name => { const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = `var(${name})`; return of(probe).color; };
const outside = text => { const box = text.getBoundingClientRect(), own = text.ownerSVGElement.getBoundingClientRect();
  return box.left < Math.max(own.left, 0) - 2 || box.right > Math.min(own.right, innerWidth) + 2
    || box.top < own.top - 2 || box.bottom > own.bottom + 2; };
const hidden = cell => { const range = document.createRange(); range.selectNodeContents(cell);
  const text = range.getBoundingClientRect(), own = cell.closest('.wide').getBoundingClientRect();
  return text.top < own.top - 1 || text.bottom > own.bottom + 1; };
const first = document.querySelector('a[href], summary, [tabindex="0"]');
const found = {
  dark: matchMedia('(prefers-color-scheme: dark)').matches,
  paper: shades(paper.backgroundColor),
  contrast: ['--ink', '--soft', '--accent'].map(name => over(resolved(name), paper.backgroundColor)),
  lines: [1, 2, 3, 4, 5, 6, 7, 8].map(n => over(resolved(`--series-${n}`), paper.backgroundColor)),
  skip: first.className === 'skip' && document.querySelector(first.hash).tabIndex === -1,
  broken: all('img').filter(image => !image.naturalWidth).length,
  unnamed: all('img:not([alt]), svg:not([aria-label])').length,
  lost: all('a[href^="#"]').filter(a => !document.getElementById(a.hash.slice(1))).length,
  headless: all('th:not([scope])').length,
  unreached: all('.wide:not([tabindex="0"])').length,
  wider: document.documentElement.scrollWidth - innerWidth,
  hidden: all('.wide th').filter(hidden).map(cell => cell.textContent),
  cut: all('svg text').filter(outside).map(text => text.textContent),
  foreign: performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('data:')).length,
};
document.body.appendChild(document.createElement('pre')).textContent = 'FOUND' + JSON.stringify(found);
"""


def opened(page: pathlib.Path, *flags: str, milliseconds: int = 10000) -> tuple[str, list[str]]:
    """What became of the page once its scripts have run, and what stands in its console; a skip without chromium."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed: the page was not tried in a browser")
    own = (f"--user-data-dir={page.parent / 'chromium'}", f"--virtual-time-budget={milliseconds}", "--dump-dom")
    command = [browser, *FLAGS, *own, *flags, f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def judge(page: pathlib.Path, dark: bool) -> None:
    """The page is read by keyboard, on a narrow and a wide screen, in either scheme, without a word in the console."""
    for width in (500, 1400):
        judge_at(page, dark, width)


def judge_at(page: pathlib.Path, dark: bool, width: int) -> None:
    """The same in a window so many pixels wide."""
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("</body>", f"<script>{LOOKS}</script></body>"))
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    shown, console = opened(probed, scheme, f"--window-size={width},900")
    assert not console
    found = json.loads(html.unescape(re.findall(r"FOUND(\{.*?\})<", shown)[0]))
    assert found["dark"] == dark
    assert (found["paper"] < 0.1) == dark
    assert min(found["contrast"]) >= 4.5  # of text, WCAG 2.2, 1.4.3
    assert min(found["lines"]) >= 3  # of what is drawn, 1.4.11
    assert found["skip"]
    for fault in ("broken", "unnamed", "lost", "headless", "unreached", "foreign"):
        assert found[fault] == 0, fault
    assert found["wider"] <= 0
    assert not found["cut"]
    assert not found["hidden"]
