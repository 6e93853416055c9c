"""`manage.py import_dataset FILE`: cases from a file, as a new dataset or a new version of one."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.roles import ADMIN
from generations.models import Dataset
from generations.services.dataset_rows import FORMATS, MAX_FILE_BYTES, ColumnMapping, DatasetImportError
from generations.services.datasets import import_dataset
from mayagen.common.errors import DomainError


class Command(BaseCommand):
    """Reads CSV, TSV or JSON Lines; all of the file is taken, or nothing."""

    help = "Import a CSV, TSV or JSON Lines file as a dataset, or as a new version of one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the file, UTF-8, with a header unless it is JSON Lines")
        parser.add_argument("--name", default="", help="name of the new dataset; the file's if left out")
        parser.add_argument("--dataset", default="", help="slug of a dataset that gets a new version instead")
        parser.add_argument("--format", default="", choices=("", *FORMATS), help="if the name does not tell")
        parser.add_argument("--key", default="", metavar="COLUMN", help="column of the item's key")
        parser.add_argument("--brief", default="", metavar="COLUMN", help="column of the brief")
        parser.add_argument(
            "--variable",
            action="append",
            default=[],
            metavar="NAME=COLUMN",
            help="a variable and its column; repeatable",
        )
        parser.add_argument(
            "--tag", action="append", default=[], metavar="COLUMN", help="column of tags; repeatable"
        )
        parser.add_argument("--note", default="", help="what the version is about")
        parser.add_argument("--actor", default="", help="e-mail of the admin; the first one if left out")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise CommandError(f"{path} can't be read: {error.strerror}.") from error
        try:
            version = import_dataset(
                actor=_get_actor(options["actor"]),
                content=content,
                file_name=path.name,
                file_format=options["format"],
                mapping=_read_mapping(options) or None,
                dataset=_get_dataset(options["dataset"]),
                name=options["name"] or path.stem,
                note=options["note"],
            )
        except DatasetImportError as error:
            lines = [f"line {found['line']}: {found['message']}" for found in error.extra["errors"]]
            raise CommandError("\n".join(["Nothing was imported.", *lines])) from None
        except DomainError as error:
            details = [sentence for sentences in error.fields.values() for sentence in sentences]
            raise CommandError(" ".join([error.message, *details])) from None
        n_items = version.items.count()
        self.stdout.write(f"{version.dataset.slug} version {version.number}: {n_items:,} items.")


def _read_mapping(options: dict[str, Any]) -> ColumnMapping:
    variables = {}
    for text in options["variable"]:
        name, separator, column = text.partition("=")
        if not (name and separator and column):
            raise CommandError(f"--variable takes NAME=COLUMN, not {text!r}.")
        variables[name] = column
    return ColumnMapping(key=options["key"], brief=options["brief"], variables=variables, tags=options["tag"])


def _get_actor(email: str) -> User:
    people = User.objects.get_queryset().active().filter(groups__name=ADMIN)
    actor = people.filter(email__iexact=email).first() if email else people.order_by("id").first()
    if actor is None:
        raise CommandError(f"There is no active admin {email}.".replace(" .", "."))
    return actor


def _get_dataset(slug: str) -> Dataset | None:
    if not slug:
        return None
    dataset = Dataset.objects.alive().filter(slug=slug).first()
    if dataset is None:
        raise CommandError(f"There is no dataset {slug!r}.")
    return dataset
