"""The weekly recommendations of docs/metrics.md: pure functions from facts of students to rows with texts.

`facts` is the input of the rules, `cohorts` and `next_lesson` prepare it, `rules` has one function per rule, `ranking`
selects the three best per student, `messages` has every text that a student reads. Imports NumPy and pandas and nothing
else of ours; reading, publishing and dismissal belong to `platform` and `store`.
"""

from snapshot_pipeline.recommendations.facts import WeekFacts
from snapshot_pipeline.recommendations.ranking import recommend

__all__ = ["WeekFacts", "recommend"]
