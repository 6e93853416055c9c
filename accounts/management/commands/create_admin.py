"""Make an administrator from the machine's own command line, which is how the first one comes to be."""

from __future__ import annotations

import getpass
import secrets
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import services
from mayagen.common.errors import DomainError


class Command(BaseCommand):
    """`manage.py create_admin EMAIL`."""

    help = "Make an administrator; asks for a password, or makes one where nobody can be asked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email", help="The e-mail address to sign in by.")
        parser.add_argument(
            "--generate-password", action="store_true", help="Make a password and print it, once."
        )

    def handle(self, *_args: object, email: str, generate_password: bool, **_options: Any) -> None:
        is_generated = generate_password or not sys.stdin.isatty()
        password = secrets.token_urlsafe(15) if is_generated else _ask_for_password()
        try:
            user = services.create_first_admin(email=email, password=password)
        except DomainError as error:
            details = (sentence for sentences in error.fields.values() for sentence in sentences)
            raise CommandError(" ".join(dict.fromkeys((error.message, *details)))) from error
        self.stdout.write(f"{user.email} can sign in as an administrator.")
        if is_generated:
            self.stdout.write(f"Password: {password}")


def _ask_for_password() -> str:
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise CommandError("The two passwords differ. Nobody was made.")
    return password
