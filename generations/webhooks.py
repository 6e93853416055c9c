"""Where providers call when a job has ended: that only wakes us; its result is asked of the provider."""

from __future__ import annotations

import logging
import uuid
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.addresses import get_client_address, get_network
from accounts.rate_limits import give_back, take
from generations.engine.webhooks import note_webhook, read_token
from generations.models import Attempt
from generations.providers.base import ProviderError, WebhookRefusedError

logger = logging.getLogger(__name__)
MAX_BODY_BYTES: Final = 1_048_576
FAILURES_PER_MINUTE: Final = 60.0
FAILURES_AT_ONCE: Final = 60


@csrf_exempt
@require_POST
def receive_webhook(request: HttpRequest, provider: str, token: str) -> HttpResponse:
    """Take a webhook: 204 once its signature is verified, else one and the same 401, whatever was wrong."""
    attempt_id = read_token(token)
    if attempt_id is None:
        return _refuse()
    body = _read_body(request)
    if body is None:
        return HttpResponse(status=413)
    # Only what fails counts, so that a provider's own calls are never held up by it.
    bucket = f"webhook:{get_network(get_client_address(request))}"
    wait = take(bucket, rate_per_minute=FAILURES_PER_MINUTE, burst=FAILURES_AT_ONCE)
    if wait > 0:
        return HttpResponse(status=429, headers={"Retry-After": str(int(wait) + 1)})
    if not _take_news(request, provider, attempt_id, body):
        return _refuse()
    give_back(bucket, rate_per_minute=FAILURES_PER_MINUTE)
    return HttpResponse(status=204)


def _take_news(request: HttpRequest, provider: str, attempt_id: uuid.UUID, body: bytes) -> bool:
    # Only here, so that web processes hold no client for requests until the first webhook comes.
    from generations.engine.verifying import verify_webhook

    attempt = Attempt.objects.select_related("image_model").filter(pk=attempt_id).first()
    if attempt is None or attempt.image_model.provider != provider:
        return False
    try:
        news = verify_webhook(attempt.image_model, headers=dict(request.headers), body=body)
    except (WebhookRefusedError, ProviderError) as error:
        logger.warning("a webhook of %s was refused: %s", provider, error)
        return False
    return note_webhook(attempt_id=attempt_id, job_id=news.job_id)


def _read_body(request: HttpRequest) -> bytes | None:
    """Return the very bytes that came, or None when there are too many."""
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES:
            return None
    except ValueError:
        return None
    body = request.read(MAX_BODY_BYTES + 1)
    return None if len(body) > MAX_BODY_BYTES else body


def _refuse() -> HttpResponse:
    return HttpResponse(status=401)
