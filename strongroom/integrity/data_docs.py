"""Data Docs: Great Expectations' own pages, made readable without a network.

As built they load scripts, styles and a logo from a dozen hosts, and their index is drawn by a script.
Everything that would be fetched is taken out, what scripts would have unfolded is shown, and the index gets
its tables as plain HTML.
"""

import html
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import DataDocsNotWritten

if TYPE_CHECKING:
    from strongroom.integrity.evaluation import SuiteOutcome

_SITE = "restore"

_FETCHED = re.compile(
    r"<script\b.*?</script\s*>|<link\b[^>]*>|<img\b[^>]*\bsrc\s*=[^>]*>|<iframe\b.*?</iframe\s*>",
    re.DOTALL | re.IGNORECASE,
)
_OUTWARD_LINK = re.compile(
    r"<a\b[^>]*\bhref\s*=\s*[\"']?\s*(?:https?:)?//[^>]*>(.*?)</a>", re.DOTALL | re.IGNORECASE
)
_OUTWARD_STYLE = re.compile(r"url\(\s*['\"]?(?:https?:)?//[^)]*\)", re.IGNORECASE)
_INDEX_TABS = re.compile(r'<div id="section-1-content-block-2".*?(?=<footer|</body>)', re.DOTALL)

_STYLE = """<style>
body { font-family: system-ui, sans-serif; margin: 1.5rem; line-height: 1.4 }
table { border-collapse: collapse; margin: 0.5rem 0 1rem }
td, th { border: 1px solid #9998; padding: 0.25rem 0.6rem; text-align: left; vertical-align: top }
nav.navbar { border-bottom: 1px solid #9998; padding-bottom: 0.5rem; height: auto !important }
ol.breadcrumb { list-style: none; padding: 0 } ol.breadcrumb li { display: inline }
li + li.breadcrumb-item::before { content: " / " }
.sticky, footer, .cooltip .top, label.btn, #ge-cta-footer { display: none }
.fa-times::before { content: "\\2718" } .fa-check-circle::before { content: "\\2714" }
.fa-exclamation-triangle::before { content: "\\26A0" }
.text-success, .passed { color: #176e2c } .text-danger, .failed { color: #b3261e; font-weight: 600 }
</style></head>"""


def write_data_docs(context: Any, outcomes: "Sequence[SuiteOutcome]", folder: Path) -> None:
    """Build the pages of all suites once, make them readable offline, and put them into `folder`.

    Pages of an earlier judgement in the same folder are replaced; a folder that holds anything else is left
    as it is. Raises `DataDocsNotWritten`.
    """
    try:
        if not _is_replaceable(folder):
            raise DataDocsNotWritten(folder=folder, reason="the folder holds something else")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".data-docs-", dir=folder.parent) as scratch:
            built = Path(scratch) / "docs"
            _build(context, outcomes, built)
            if folder.exists():
                shutil.rmtree(folder)
            built.rename(folder)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise DataDocsNotWritten(folder=folder, reason=reason) from error


def _is_replaceable(folder: Path) -> bool:
    """Tell whether a folder is absent, empty, or holds the pages of an earlier judgement and nothing else."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not names:
        return True
    pages = {"index.html", "expectations", "validations"}
    return names == pages and _STYLE in (folder / "index.html").read_text("utf-8")


def _build(context: Any, outcomes: "Sequence[SuiteOutcome]", folder: Path) -> None:
    """Build the pages into a new folder."""
    context.add_data_docs_site(_SITE, _site(folder))
    context.build_data_docs()
    shutil.rmtree(folder / "static", ignore_errors=True)
    titles = {outcome.suite.name: outcome.suite.title for outcome in outcomes}
    for page in sorted(folder.rglob("*.html")):
        page.write_text(_offline(page.read_text("utf-8"), titles), "utf-8")
    index = folder / "index.html"
    index.write_text(_with_overview(index.read_text("utf-8"), outcomes, folder), "utf-8")
    if len(list((folder / "validations").rglob("*.html"))) != len(outcomes):
        raise DataDocsNotWritten(
            folder=folder, reason="Great Expectations did not make a page for every suite"
        )


def _site(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "show_cta_footer": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(folder.absolute()),
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
    }


def _offline(page: str, titles: dict[str, str]) -> str:
    """Take out whatever a browser would fetch, and call the suites by what they judge."""
    page = _FETCHED.sub("", page)
    page = _OUTWARD_LINK.sub(r"\1", page)
    page = _OUTWARD_STYLE.sub("none", page)
    page = page.replace("</head>", _STYLE, 1)
    return re.sub(
        r"(?<=>)(\d{4}-[A-Za-z0-9_-]+)(?=</a>)",
        lambda match: html.escape(titles.get(match.group(1), match.group(1))),
        page,
    )


def _with_overview(page: str, outcomes: "Sequence[SuiteOutcome]", folder: Path) -> str:
    """Put plain tables where scripts would have drawn them."""
    pages = {
        path.relative_to(folder / "validations").parts[0]: path
        for path in (folder / "validations").rglob("*.html")
    }
    rows = "".join(_overview_row(outcome, pages.get(outcome.suite.name), folder) for outcome in outcomes)
    overview = (
        "<h2>Validation Results</h2><table><thead><tr><th>Judged</th><th>Outcome</th><th>Expectations</th>"
        f"<th>Failed</th><th>Suite</th></tr></thead><tbody>{rows}</tbody></table>\n"
    )
    if not _INDEX_TABS.search(page):
        return page.replace("</body>", overview + "</body>", 1)
    return _INDEX_TABS.sub(lambda _: overview + "</div></div></div></div></div>", page, count=1)


def _verdict(outcome: "SuiteOutcome") -> str:
    """Return how a suite ended; Great Expectations' own pages call warnings failed, too."""
    failed = [o for o in outcome.outcomes if not o.passed]
    if any(o.raised or o.planned.severity == "critical" for o in failed):
        return "failed"
    return "warning" if failed else "passed"


def _overview_row(outcome: "SuiteOutcome", page: Path | None, folder: Path) -> str:
    failed = sum(not o.passed for o in outcome.outcomes)
    verdict = f'<td class="{_verdict(outcome)}">{_verdict(outcome)}</td>'
    title = html.escape(outcome.suite.title)
    link = f'<a href="{html.escape(page.relative_to(folder).as_posix())}">{title}</a>' if page else title
    suite = f'<a href="expectations/{html.escape(outcome.suite.name)}.html">expectations</a>'
    return (
        f"<tr><td>{link}</td>{verdict}<td>{len(outcome.outcomes)}</td><td>{failed}</td><td>{suite}</td></tr>"
    )
