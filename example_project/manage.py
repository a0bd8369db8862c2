#!/usr/bin/env python
"""Run Django's management commands for the example site."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Hand the command line over to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "obc_site.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            "Django is not installed in this Python. Run example_project/scripts/demo.sh, which"
            " makes an environment, or: pip install -e '.[example]'"
        ) from error
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
