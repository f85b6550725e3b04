"""Colors of the review page: text is readable in both themes, by the contrast of WCAG 2.2 at level AA."""

from __future__ import annotations

import re

import pytest

from tests.serve.conftest import REPOSITORY

STYLE = (REPOSITORY / "src" / "heldout" / "serve" / "page" / "src" / "style.css").read_text(encoding="utf-8")
LIGHT = dict(re.findall(r"--([\w-]+): (#\w{6});", re.search(r"^:root \{(.+?)\}", STYLE, re.MULTILINE | re.DOTALL)[1]))
DARK = dict(re.findall(r"--([\w-]+): (#\w{6});", re.search(r"dark\"\] \{(.+?)\}", STYLE, re.DOTALL)[1]))
TEXTS = [(text, ground) for text in ("text", "muted", "accent", "bad", "warn", "good") for ground in ("back", "panel")]


def luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # known to fail by little


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), [*TEXTS, ("on-accent", "accent")])
def test_text_is_readable(theme, text, ground):
    assert contrast(theme[text], theme[ground]) >= 4.5


def test_both_themes_have_all_colors_and_text_takes_no_other():
    assert LIGHT.keys() == DARK.keys()
    used = set(re.findall(r"^  color: ([^;]+);", STYLE, re.MULTILINE))
    named = {f"var(--{text})" for text in ("text", "muted", "accent", "bad", "warn", "good", "on-accent")}
    others = used - named - {"inherit"}
    assert all(contrast(color, theme["stage"]) >= 4.5 for color in others for theme in (LIGHT, DARK)), others
