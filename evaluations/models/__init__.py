"""What people think of it: criteria, queues, assignments, ratings and tallies."""

from evaluations.models.criteria import Criterion, Scale, ScaleLevel
from evaluations.models.queues import Assignment, QueueItem, ReviewQueue
from evaluations.models.ratings import Rating, RatingTally

__all__ = [
    "Assignment",
    "Criterion",
    "QueueItem",
    "Rating",
    "RatingTally",
    "ReviewQueue",
    "Scale",
    "ScaleLevel",
]
