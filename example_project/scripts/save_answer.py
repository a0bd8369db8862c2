"""Search the running example site, ask a question, and save the page with the answer.

    save_answer.py http://127.0.0.1:8000 "poblacion upi" "How many residents?" page.html

A browser that takes screenshots can only follow links, and an answer needs a POST.
"""

from __future__ import annotations

import http.cookiejar
import re
import sys
import urllib.parse
import urllib.request
from pathlib import Path


def save_answer(site: str, query: str, question: str, target: Path) -> None:
    """Write the answer's HTML with a base address, so that it finds its style sheet."""
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    browser = urllib.request.build_opener(cookies)
    search = f"{site}/search/?{urllib.parse.urlencode({'q': query})}"
    with browser.open(search, timeout=30) as response:
        page = response.read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if token is None:
        raise SystemExit(f"No form to ask with at {search}: is the region loaded and indexed?")
    fields = {"csrfmiddlewaretoken": token[1], "q": query, "question": question}
    body = urllib.parse.urlencode(fields).encode()
    with browser.open(f"{site}/search/ask/", body, timeout=60) as response:
        page = response.read().decode()
    target.write_text(page.replace("<head>", f'<head><base href="{site}/">', 1), encoding="utf-8")


if __name__ == "__main__":
    save_answer(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
