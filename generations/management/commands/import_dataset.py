"""`manage.py import_dataset FILE`: cases from a file, as a new dataset or a new version of one."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.roles import ADMIN
from generations.choices import ImportState
from generations.models import Dataset, DatasetImport
from generations.services.dataset_imports import upload_dataset_import
from generations.services.dataset_rows import FORMATS, ColumnMapping
from generations.services.importing.work import finish_import
from mayagen.common.errors import DomainError


class Command(BaseCommand):
    """Reads CSV, TSV, JSON Lines, or a ZIP file with images; all of the file is taken, or nothing."""

    help = "Import a CSV, TSV, JSON Lines or ZIP file as a dataset, or as a new version of one."

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
        parser.add_argument(
            "--image", action="append", default=[], metavar="COLUMN", help="column of input images in the ZIP"
        )
        parser.add_argument(
            "--mask", action="append", default=[], metavar="COLUMN", help="column of masks in the ZIP"
        )
        parser.add_argument("--dry-run", action="store_true", help="check the file and import nothing")
        parser.add_argument("--note", default="", help="what the version is about")
        parser.add_argument("--actor", default="", help="e-mail of the admin; the first one if left out")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            done = finish_import(_upload(path, options))
        except OSError as error:
            raise CommandError(f"{path} can't be read: {error.strerror}.") from error
        except DomainError as error:
            details = [sentence for sentences in error.fields.values() for sentence in sentences]
            raise CommandError(" ".join([error.message, *details])) from None
        if done.n_errors or done.error_code:
            lines = [f"line {found['line']}: {found['message']}" for found in done.errors]
            raise CommandError("\n".join(["Nothing was imported.", *(lines or [done.error_message])]))
        if done.state == ImportState.CHECKED:
            self.stdout.write(f"{path.name}: {done.n_rows:,} items without errors; nothing was imported.")
        elif done.version is not None:
            n_items = done.version.items.count()
            name = f"{done.version.dataset.slug} version {done.version.number}"
            self.stdout.write(f"{name}: {n_items:,} items.")


def _upload(path: Path, options: dict[str, Any]) -> DatasetImport:
    with path.open("rb") as file:
        return upload_dataset_import(
            actor=_get_actor(options["actor"]),
            file=File(file, name=path.name),
            file_name=path.name,
            file_format=options["format"],
            mapping=_read_mapping(options),
            dataset=_get_dataset(options["dataset"]),
            name=options["name"] or path.stem,
            note=options["note"],
            is_dry_run=options["dry_run"],
        )


def _read_mapping(options: dict[str, Any]) -> ColumnMapping:
    variables = {}
    for text in options["variable"]:
        name, separator, column = text.partition("=")
        if not (name and separator and column):
            raise CommandError(f"--variable takes NAME=COLUMN, not {text!r}.")
        variables[name] = column
    return ColumnMapping(
        key=options["key"],
        brief=options["brief"],
        variables=variables,
        tags=options["tag"],
        references=options["image"],
        masks=options["mask"],
    )


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
