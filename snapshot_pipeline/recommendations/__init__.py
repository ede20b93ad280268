"""The weekly recommendations of `metrics.md`: from what is known of a batch of students to rows with their texts.

Put here: what a rule is given (`facts`), the rules (`rules`, one function a rule), the five best per student
(`ranking`), and every word that a student reads (`messages`). Knows NumPy and pandas and nothing else of ours.
Do not put here: reading and publishing, the life of a recommendation in the database (`store`), Dagster.
"""

from snapshot_pipeline.recommendations.facts import WeekFacts
from snapshot_pipeline.recommendations.ranking import recommend

__all__ = ["WeekFacts", "recommend"]
