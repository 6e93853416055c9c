"""The admin's pages of reviewing, and what they add to the pages of other apps."""

from evaluations.admin.quality import add_to_other_pages

add_to_other_pages()
