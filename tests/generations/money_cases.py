"""What the tests of money share: runs of a paid model, and what the ledger says of them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from django.utils import timezone

from accounts.models import User
from generations.choices import ErrorCode
from generations.engine.transitions import Completed, Dropped, Failed, Failure, apply_all
from generations.engine.work import Work
from generations.models import Attempt, MonthlySpend, Run
from generations.services.runs import create_run
from prompts.models import ImageModel, PromptVersion
from tests.generations.factories import DatasetItemFactory, DatasetVersionFactory
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

PRICE: Final = Decimal("0.04")
REFUSED: Final = Failure(code=ErrorCode.REFUSED, sentence="No.")
UNKNOWN: Final = Failure(code=ErrorCode.OUTCOME_UNKNOWN, sentence="Who knows?", is_unknown=True)

End = Completed | Failed | Dropped


def make_paid_version() -> PromptVersion:
    """Return a version of a model that costs `PRICE` an image."""
    return make_version(ImageModelFactory(paid=True, price_usd=PRICE, max_in_flight=100))


def make_version(model: ImageModel, **fields: Any) -> PromptVersion:
    """Return a version of that model with one variable."""
    made: PromptVersion = PromptVersionFactory(
        image_model=model, parameters={}, user_prompt="{subject}", **fields
    )
    return made


def launch(actor: User, *versions: PromptVersion, n: int = 1, **fields: Any) -> Run:
    """Launch the versions over `n` items."""
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(n, dataset_version=dataset_version)
    return create_run(
        actor=actor, name="Trial", prompt_versions=list(versions), dataset_version=dataset_version, **fields
    )


def read_ledger(user: User | None) -> tuple[Any, ...]:
    """Return reserved generations and USD, booked generations and USD."""
    row = MonthlySpend.objects.get(user=user)
    return row.reserved_generations, row.reserved_usd, row.booked_generations, row.booked_usd


def complete(work: Work, cost_usd: Decimal | None = PRICE) -> Completed:
    """Return the end of work that brought no image worth keeping for these tests."""
    return Completed(work, [], 10, cost_usd)


def end(ends: Sequence[End]) -> None:
    """End work, and let its calls count as answered, so that their places are free."""
    apply_all(ends)
    ids = [each.work.attempt_id for each in ends]
    Attempt.objects.filter(pk__in=ids, answered_at=None).update(answered_at=timezone.now())
