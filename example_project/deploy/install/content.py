"""What a new site starts with: somebody who may log in, places, and what finds them.

python -m deploy.install.content superuser        of DJANGO_SUPERUSER_USERNAME, _EMAIL, _PASSWORD
python -m deploy.install.content places           loads them if there are none
python -m deploy.install.content indexes          builds those that are not current
"""

from __future__ import annotations

import argparse
import os

from deploy.backups.problems import Problem, run, say


def superuser() -> None:
    """Make the superuser of the environment, or leave the one of that name as is."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    people = get_user_model()
    given = {
        name: os.environ.get(f"DJANGO_SUPERUSER_{name.upper()}", "")
        for name in ("username", "email", "password")
    }
    if not given["username"]:
        number = people._default_manager.filter(is_superuser=True, is_active=True).count()
        if number:
            say(f"   already there: {number}")
        else:
            say(
                "   there is none, and DJANGO_SUPERUSER_USERNAME is not set. Make one:"
                f" {os.environ['OBC_SITE_MANAGE']} createsuperuser"
            )
        return
    name = given["username"]
    found = people._default_manager.filter(username=name).first()
    if found is not None:
        word = "superuser" if found.is_superuser else "user WHO IS NO SUPERUSER"
        say(f"   already there, left as is: {word} {name}")
        return
    if not given["password"]:
        raise Problem("DJANGO_SUPERUSER_PASSWORD is not set, and DJANGO_SUPERUSER_USERNAME is.")
    candidate = people(username=name, email=given["email"])
    try:
        candidate.full_clean(exclude=["password"])
        validate_password(given["password"], candidate)
    except ValidationError as error:
        raise Problem(f"DJANGO_SUPERUSER_...: {' '.join(error.messages)}") from None
    people._default_manager.create_superuser(name, given["email"], given["password"])
    say(f"   made: superuser {name}")


def places() -> None:
    """Load the places of the example if there are none."""
    from django.core.management import call_command

    from communities.models import Community

    if number := Community.objects.count():
        say(f"   already there: {number:,} communities")
        return
    call_command("load_places")


def indexes() -> None:
    """Build the indexes that are not current."""
    from django.core.management import call_command

    from django_obc_ai.exceptions import ObcAIError
    from django_obc_ai.indexes import get_indexes
    from django_obc_ai.services.indexing import IndexingService

    for index in get_indexes():
        service = IndexingService()
        try:
            is_current = (
                service.is_current(index.name) and service.verify(index.name).exit_code == 0
            )
        except ObcAIError:
            is_current = False  # building it says what is wrong
        if is_current:
            say(f"   already there: {index.name}")
            continue
        call_command("ai_index", index.name)


def main() -> None:
    """See the module."""
    import django
    from django.core.management import CommandError
    from django.db import Error

    steps = {"superuser": superuser, "places": places, "indexes": indexes}
    parser = argparse.ArgumentParser(prog="deploy.install.content")
    parser.add_argument("what", choices=steps)
    given = parser.parse_args()
    django.setup()
    try:
        steps[given.what]()
    except (CommandError, Error) as error:
        raise Problem(str(error)) from error


if __name__ == "__main__":
    run(main)
