"""The numbers on the pages are those of the measured scores."""

import pytest


@pytest.fixture
def pages(load_tool):
    return load_tool('.dev_scripts/fill_tables')


def test_pages_are_up_to_date(pages):
    assert pages.find_stale() == []


@pytest.mark.parametrize('number', ['96.46 ± 0.41', '1.58 ± 1.44', '0.078'])
def test_another_number_is_found(pages, number, tmp_path, monkeypatch):
    """In a table, in the text, and one that is no mean."""
    (page,) = (page for page in pages.PAGES if page.name == 'results.md')
    changed = tmp_path / 'results.md'
    changed.write_text(page.read_text().replace(number, '0.12'))
    phrases = {changed: pages.PHRASES[page]}
    monkeypatch.setattr(pages, 'PHRASES', phrases)
    monkeypatch.setattr(pages, 'PAGES', [*pages.PAGES, changed])
    (stale,) = pages.find_stale()
    assert str(changed) in stale
