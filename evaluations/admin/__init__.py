"""The admin's pages of reviewing, and what they add to the pages of other apps."""

from evaluations.admin.criteria import CriterionAdmin
from evaluations.admin.quality import add_to_other_pages
from evaluations.admin.queues import AssignmentAdmin, ReviewQueueAdmin
from evaluations.admin.ratings import RatingAdmin

__all__ = ["AssignmentAdmin", "CriterionAdmin", "RatingAdmin", "ReviewQueueAdmin"]

add_to_other_pages()
