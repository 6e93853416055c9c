"""Every name that is resolved only at run time resolves."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.utils.module_loading import import_string
from django_q.models import Schedule

OWN_PACKAGES = ("accounts", "evaluations", "generations", "mayagen", "prompts")
DOTTED_PATH = re.compile(rf"^(?:{'|'.join(OWN_PACKAGES)})(?:\.\w+)+$")


def list_own_modules() -> Iterator[str]:
    for package_name in OWN_PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{package_name}."):
            if ".migrations" not in module.name:
                yield module.name


def list_strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from list_strings(part)
    elif isinstance(value, list | tuple | set):
        for part in value:
            yield from list_strings(part)


def resolve(path: str) -> None:
    """Import the module, or the object in its module, that the dotted path names."""
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        import_string(path)


def list_task_constants() -> list[tuple[str, str, str]]:
    return [
        (module_name, name, value)
        for module_name in list_own_modules()
        for name, value in vars(importlib.import_module(module_name)).items()
        if name.endswith("_TASK") and isinstance(value, str)
    ]


@pytest.mark.parametrize("module_name", sorted(list_own_modules()))
def test_every_module_can_be_imported(module_name: str) -> None:
    importlib.import_module(module_name)


def test_every_path_in_the_settings_resolves() -> None:
    paths = {
        text
        for name in dir(settings)
        if name.isupper()
        for text in list_strings(getattr(settings, name))
        if DOTTED_PATH.match(text) and name not in {"AUTH_USER_MODEL", "INSTALLED_APPS", "LOGGING"}
    }

    assert paths
    for path in sorted(paths):
        resolve(path)


def test_every_task_that_is_sent_is_a_function_without_required_arguments() -> None:
    constants = list_task_constants()

    assert constants
    for module_name, name, path in constants:
        task = import_string(path)
        required = [
            parameter.name
            for parameter in inspect.signature(task).parameters.values()
            if parameter.default is parameter.empty
        ]
        assert required == [], f"{module_name}.{name}: messages carry no arguments"


@pytest.mark.django_db
def test_every_schedule_names_a_task_without_arguments() -> None:
    schedules = list(Schedule.objects.all())

    assert schedules
    for schedule in schedules:
        import_string(schedule.func)
        assert schedule.args in {None, "", "()"}, schedule.name
        assert schedule.kwargs in {None, "", "{}"}, schedule.name
