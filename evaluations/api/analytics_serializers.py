"""The API's shapes of analytics, and the figures in them as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from rest_framework import serializers

from evaluations.analytics.history import Period, RatingHistory
from evaluations.analytics.performance import VersionPerformance
from evaluations.analytics.scopes import Blind, ScaleFacts
from evaluations.analytics.summaries import Comparison, LevelShare, RatingSummary
from evaluations.statistics.intervals import ShareInterval

CONFIDENCE: Final = 0.95
_USED: Final = [each.value for each in Blind if each != Blind.AUTO]


class MeanSerializer(serializers.Serializer):
    """A mean with its interval; values are null where there are too few ratings for them."""

    n = serializers.IntegerField()
    mean = serializers.FloatField(allow_null=True)
    standard_deviation = serializers.FloatField(allow_null=True, help_text="Of a sample (n - 1).")
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    confidence = serializers.FloatField()
    method = serializers.ChoiceField(
        choices=["none", "student_t", "all_equal"],
        help_text="`student_t`; `all_equal` where all ratings are the same, by the exact binomial bound; "
        "`none` with fewer than two ratings.",
    )


class LevelShareSerializer(serializers.Serializer):
    """One level's part of the ratings."""

    level = serializers.IntegerField()
    name = serializers.CharField()
    n = serializers.IntegerField()
    share = serializers.FloatField(allow_null=True)


class LevelIntervalSerializer(LevelShareSerializer):
    """One level's part of the ratings, with its interval."""

    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    confidence = serializers.FloatField()
    method = serializers.ChoiceField(choices=["wilson"])


class RatingSummarySerializer(serializers.Serializer):
    """What a set of ratings amounts to."""

    n_ratings = serializers.IntegerField()
    mean = MeanSerializer()
    levels = LevelShareSerializer(many=True)
    best = LevelIntervalSerializer(help_text="The best level.")
    worst = LevelIntervalSerializer(help_text="The worst level.")


class PointSerializer(RatingSummarySerializer):
    """The ratings of one period."""

    start = serializers.DateField(help_text="The first day of the period.")


class RatingAnalyticsSerializer(RatingSummarySerializer):
    """Ratings by level and over time."""

    criterion = serializers.CharField()
    blind = serializers.ChoiceField(choices=_USED, help_text="Which ratings were used.")
    n_left_out = serializers.IntegerField(
        help_text="Ratings that `blind` leaves out, and those on older scales of the criterion."
    )
    period = serializers.ChoiceField(choices=[each.value for each in Period])
    time_zone = serializers.CharField()
    over_time = PointSerializer(many=True, help_text="Periods with ratings, oldest first.")


class PromptReferenceSerializer(serializers.Serializer):
    """Whose version it is."""

    id = serializers.UUIDField()
    name = serializers.CharField()


class ComparisonSerializer(serializers.Serializer):
    """How much higher a version is rated than the one labelled `production`."""

    version = serializers.CharField(help_text="The production version.")
    n_ratings = serializers.IntegerField(help_text="Its ratings.")
    difference = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    confidence = serializers.FloatField()
    method = serializers.ChoiceField(
        choices=["none", "welch_t", "mover"],
        help_text="`welch_t`; `mover` where all ratings of a version are the same; `none` with fewer than "
        "two ratings of a version.",
    )
    sentence = serializers.CharField()


class PromptPerformanceSerializer(RatingSummarySerializer):
    """How one version of a prompt is rated."""

    prompt_version = serializers.UUIDField()
    prompt = PromptReferenceSerializer()
    number = serializers.IntegerField()
    labels = serializers.ListField(child=serializers.CharField())
    is_deleted = serializers.BooleanField()
    n_generations = serializers.IntegerField(help_text="Those that a retry replaced are left out.")
    n_completed = serializers.IntegerField()
    n_outputs = serializers.IntegerField()
    n_rated = serializers.IntegerField(help_text="Outputs with a rating that counts, blind or open.")
    n_unrated = serializers.IntegerField()
    criterion = serializers.CharField()
    blind = serializers.ChoiceField(choices=_USED, help_text="Which ratings were used.")
    n_left_out = serializers.IntegerField(
        help_text="Ratings that `blind` leaves out, and those on older scales of the criterion."
    )
    against_production = ComparisonSerializer(
        allow_null=True,
        help_text="Null for the production version itself and where no version is labelled so.",
    )


def present_history(
    history: RatingHistory, *, scale: ScaleFacts, period: Period, time_zone: str
) -> dict[str, Any]:
    """Return the answer of `analytics/ratings/`."""
    return {
        "criterion": scale.criterion_slug,
        "blind": history.blind.value,
        "n_left_out": history.total.n_left_out,
        **_present_summary(history.total),
        "period": period.value,
        "time_zone": time_zone,
        "over_time": [
            {"start": point.start.isoformat(), **_present_summary(point.ratings)} for point in history.points
        ],
    }


def present_performance(row: VersionPerformance, *, scale: ScaleFacts) -> dict[str, Any]:
    """Return one row of `analytics/prompt-performance/`."""
    version, made = row.version, row.made
    return {
        "prompt_version": str(version.pk),
        "prompt": {"id": str(version.prompt_id), "name": version.prompt.name},
        "number": version.number,
        "labels": list(row.labels),
        "is_deleted": version.is_deleted,
        "n_generations": made.n_generations,
        "n_completed": made.n_completed,
        "n_outputs": made.n_outputs,
        "n_rated": made.n_rated,
        "n_unrated": made.n_unrated,
        "criterion": scale.criterion_slug,
        "blind": row.ratings.blind.value,
        "n_left_out": row.ratings.n_left_out,
        **_present_summary(row.ratings),
        "against_production": row.against_production and _present_comparison(row.against_production),
    }


def _present_summary(summary: RatingSummary) -> dict[str, Any]:
    return {
        "n_ratings": summary.n_ratings,
        "mean": {**asdict(summary.mean), "confidence": CONFIDENCE},
        "levels": [asdict(level) for level in summary.levels],
        "best": _present_share(summary.levels[-1], summary.best),
        "worst": _present_share(summary.levels[0], summary.worst),
    }


def _present_share(level: LevelShare, interval: ShareInterval) -> dict[str, Any]:
    limits = {"low": interval.low, "high": interval.high}
    return {**asdict(level), **limits, "confidence": CONFIDENCE, "method": "wilson"}


def _present_comparison(comparison: Comparison) -> dict[str, Any]:
    facts = comparison.difference
    return {
        "version": comparison.before_name,
        "n_ratings": facts.n_before,
        "difference": facts.difference,
        "low": facts.low,
        "high": facts.high,
        "confidence": CONFIDENCE,
        "method": facts.method,
        "sentence": comparison.sentence,
    }
