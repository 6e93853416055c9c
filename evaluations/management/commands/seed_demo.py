"""Fill an empty installation with a small demo."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from pathlib import Path
from typing import Any

import aiohttp
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.models import User
from accounts.roles import ADMIN, ROLES
from accounts.services import create_first_admin, create_user, set_name
from evaluations.management import demo
from generations.providers.base import ProviderConfig, ProviderRequest
from generations.providers.embedded import EMBEDDED_PARAMETERS_SCHEMA, EmbeddedProvider
from generations.services.dataset_rows import ItemRow
from generations.services.datasets import create_dataset
from generations.services.images import UploadedInput
from generations.services.runs import create_run
from prompts.choices import Kind, Provider
from prompts.models import ImageModel, PromptVersion
from prompts.services.image_models import create_image_model
from prompts.services.labels import set_label
from prompts.services.prompts import create_prompt
from prompts.services.versions import create_version

VIEW_SIDE_PX = 768


class Command(BaseCommand):
    """`manage.py seed_demo`: one person for each role, two prompts, a dataset, and runs that are queued."""

    help = "Make demo people, prompts, a dataset and runs, unless there are people already."

    def handle(self, *_args: object, **_options: Any) -> None:
        if User.objects.exists():
            self.stdout.write("There are people already: nothing was changed.")
            return
        accounts = [
            {"role": role, "email": f"{role}@demo.example", "password": secrets.token_urlsafe(12)}
            for role in ROLES
        ]
        with transaction.atomic():
            self._fill(accounts)
            write_accounts(settings.ENV.data_dir / "demo-accounts.json", accounts)

    def _fill(self, accounts: list[dict[str, str]]) -> None:
        admin = _make_people(accounts)
        renderer = _make_renderer(admin, name="Embedded renderer", kind=Kind.TEXT_TO_IMAGE, max_inputs=0)
        editor = _make_renderer(admin, name="Embedded renderer, edits", kind=Kind.IMAGE_EDIT, max_inputs=2)
        posters = _make_poster_versions(admin, renderer)
        dataset = create_dataset(
            actor=admin,
            **demo.DATASET,
            rows=[
                ItemRow(
                    key=key,
                    brief=f"{subject[0].upper()}{subject[1:]} {setting}.",
                    variables={"subject": subject, "setting": setting},
                    tags=[tag],
                )
                for key, subject, setting, tag in demo.CASES
            ],
        )
        create_run(
            actor=admin,
            name="Travel posters, version 1 against 2",
            prompt_versions=posters,
            dataset_version=dataset.versions.get(),
            base_seed=1,
        )
        self._run_edits(admin, editor)

    def _run_edits(self, admin: User, editor: ImageModel) -> None:
        prompt = create_prompt(actor=admin, **demo.EDIT_PROMPT)
        versions: list[PromptVersion] = []
        for fields in demo.EDIT_VERSIONS:
            parent = versions[-1] if versions else None
            versions.append(
                create_version(actor=admin, prompt=prompt, parent=parent, image_model=editor, **fields)
            )
        view = draw_view()
        for season in demo.SEASONS:
            create_run(
                actor=admin,
                name=f"Change of season: {season}",
                prompt_versions=versions,
                variables={"season": season},
                brief=f"The same view in {season}.",
                input_files=[UploadedInput(view)],
            )


def _make_people(accounts: list[dict[str, str]]) -> User:
    passwords = {account["role"]: (account["email"], account["password"]) for account in accounts}
    email, password = passwords.pop(ADMIN)
    admin = create_first_admin(email=email, password=password)
    admin = set_name(actor=admin, user=admin, name="Admin")
    for role, (email, password) in passwords.items():
        create_user(actor=admin, email=email, role=role, name=role.capitalize(), password=password)
    return admin


def _make_renderer(admin: User, *, name: str, kind: Kind, max_inputs: int) -> ImageModel:
    return create_image_model(
        actor=admin,
        name=name,
        description="Draws pictures from the words of the prompt by rules, without a key. It is not AI.",
        provider=Provider.EMBEDDED,
        endpoint="renderer",
        kind=kind,
        parameters_schema=dict(EMBEDDED_PARAMETERS_SCHEMA),
        default_parameters={},
        max_outputs=4,
        max_inputs=max_inputs,
        is_free=True,
        max_in_flight=4,
    )


def _make_poster_versions(admin: User, renderer: ImageModel) -> list[PromptVersion]:
    prompt = create_prompt(actor=admin, **demo.PROMPT)
    first = create_version(actor=admin, prompt=prompt, image_model=renderer, **demo.FIRST_VERSION)
    second = create_version(actor=admin, prompt=prompt, parent=first, **demo.SECOND_VERSION)
    set_label(actor=admin, prompt=prompt, name="production", version=first)
    set_label(actor=admin, prompt=prompt, name="candidate", version=second)
    return [first, second]


def draw_view() -> bytes:
    """Return a picture, drawn by the embedded renderer, for the edits to begin from."""
    request = ProviderRequest(
        endpoint="renderer",
        kind=Kind.TEXT_TO_IMAGE,
        prompt=demo.VIEW_PROMPT,
        system_prompt="",
        negative_prompt="",
        parameters={"detail": 3},
        seed=7,
        n_outputs=1,
        width_px=VIEW_SIDE_PX,
        height_px=VIEW_SIDE_PX,
        inputs=(),
        idempotency_key="demo",
        timeout_seconds=60.0,
    )

    async def draw() -> bytes:
        async with aiohttp.ClientSession() as session:
            result = await EmbeddedProvider(ProviderConfig(), session).generate(request)
        return result.outputs[0].content

    return asyncio.run(draw())


def write_accounts(path: Path, accounts: list[dict[str, str]]) -> None:
    """Keep the sign-ins in a file that its owner alone can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(accounts, file, indent=2)
