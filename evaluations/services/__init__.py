"""The verbs of reviewing, rating, queues and criteria."""
