"""The pages of the documentation lead to one another."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchor(heading: str) -> str:
    """What a heading is linked by, as GitHub and GitLab make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_links_lead_to_pages_and_headings():
    pages = {path: path.read_text(encoding="utf-8") for path in [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]}
    anchors = {path: {anchor(line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)} for path, text in pages.items()}
    count, broken = 0, []
    for page, text in pages.items():
        for link in _LINK.findall(_CODE.sub("", text)):
            path, _, name = link.partition("#")
            if "://" in path:
                continue
            count += 1
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (name and name not in anchors.get(target, ())):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []
    assert count > 100
