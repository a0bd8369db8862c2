"""Static files of one release: each has its own list of names, and all lie in one folder.

A server that still runs the release before, or goes back to it, finds what that release refers to.
"""

from __future__ import annotations

from pathlib import Path

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage

_RELEASE = Path(__file__).resolve().parents[2]


class ReleaseStaticFiles(ManifestStaticFilesStorage):
    """Names with a hash, as ``staticfiles-RELEASE.json`` in the folder lists them."""

    if _RELEASE.parent.name == "releases":
        manifest_name = f"staticfiles-{_RELEASE.name}.json"
