"""An article compiles whatever its texts hold, and a deck of slides is one file that loads nothing."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from heldout.cli import run
from heldout.escape import latex
from heldout.report.references import USED, bibliography
from heldout.report.sections.blocks import FigureBlock, Heading, Section, TableBlock, Text
from heldout.report.sections.write import _slides
from heldout.report.tables import latex_table
from heldout.report.templates import render

HOSTILE = r"a_b & 50 % \input{/etc/passwd} $x$ #1 ^~ {} -- ½ ± é Ж \end{document}"


def compile_article(folder) -> str:
    """Run LaTeX as the command tells to, and return its log."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex: Debian's texlive-latex-recommended, texlive-fonts-recommended, lmodern")
    tex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article"]
    for words in (tex, ["bibtex", "article"], tex, tex):
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "article.log").read_text(errors="replace")


@pytest.mark.extras
def test_any_text_compiles(tmp_path):
    table = {"caption": HOSTILE, "text": latex_table([HOSTILE, "n"], [[HOSTILE, "0.5"]])}
    named = {"name": HOSTILE, "text": HOSTILE, "topics": [(HOSTILE, HOSTILE)]}
    from heldout.escape import Latex

    table["text"] = Latex(table["text"])
    works = list(USED)
    values = {"title": HOSTILE, "abstract": HOSTILE, "data": [named], "methods": [named], "evaluation": HOSTILE}
    values |= {"cited": Latex(f"\\cite{{{','.join(works)}}}"), "tables": [table], "figures": [], "limits": [HOSTILE]}
    (tmp_path / "article.tex").write_text(render("article.tex", **values, hashes=[named]))
    (tmp_path / "references.bib").write_text(bibliography(works))
    log = compile_article(tmp_path)
    assert "undefined" not in log
    assert "Output written on article.pdf" in log


@pytest.mark.extras
def test_the_article_of_a_run_compiles_and_is_not_overwritten(finish, home, tmp_path, capsys):
    spec = finish()
    folder = tmp_path / "article"
    assert run(["report", spec, "--latex", str(folder)]) == 0
    text = (folder / "article.tex").read_text()
    assert latex(spec) in text
    assert r"\toprule" in text
    assert set(re.findall(r"figures/(\S+?)}", text)) == {path.name for path in (folder / "figures").iterdir()}
    assert all((folder / "figures" / name).read_bytes().startswith(b"%PDF") for name in ("scores.pdf", "cases0.pdf"))
    assert "undefined" not in compile_article(folder)
    assert run(["report", spec, "--latex", str(folder)]) == 2
    assert "may hold your own text: name another folder, or move it away" in capsys.readouterr().err


def test_every_work_has_an_entry():
    assert bibliography(list(USED)).count("@") == len(USED)


def test_a_slide_has_one_picture_or_table():
    table, picture = TableBlock(("a",), [("1",)]), FigureBlock("p", "<svg/>", "")
    made = _slides(Section("exp001", [Text("what it is"), Heading("Scores"), table, Text("note"), picture, table]))
    assert [slide.title for slide in made] == ["exp001", *["exp001: Scores"] * 3]
    assert [len(slide.blocks) for slide in made] == [1, 2, 1, 1]


def test_a_deck_is_one_file(finish, home):
    spec = finish()
    assert run(["report", spec, "--slides", "--name", "deck"]) == 0
    page = (home / "working" / "reports" / "deck" / "slides.html").read_text()
    assert page.count("<section>") >= 5
    assert "ArrowRight" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
