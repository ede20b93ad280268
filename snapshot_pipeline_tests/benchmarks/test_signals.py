"""How well the figures rank students: the AUC, and the command on a made-up cohort and on the real data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.signals import DAYS, auc, command
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.metrics.test_engagement import GOLDEN

OULAD = PROJECT.parent / "shared" / "data" / "oulad_ccc_2014b"
EXPECTED = {
    "pace_score": (0.783, 0.831, 0.851, 0.863, 0.910),
    "engagement_score": (0.831, 0.838, 0.863, 0.880, 0.920),
    "results": (0.821, 0.824, 0.864, 0.870, 0.913),
    "presence": (0.699, 0.752, 0.767, 0.816, 0.828),
    "timeliness": (0.645, 0.710, 0.756, 0.783, 0.845),
    "recency": (0.653, 0.732, 0.767, 0.776, 0.821),
}


def steadiness(results: Path) -> dict[str, float]:
    """Return the figures over all days of the courses."""
    (path,) = results.glob("*.json")
    found: dict[str, float] = json.loads(path.read_text())["steadiness"]
    return found


def evaluated(directory: Path, results: Path) -> dict[str, dict[str, float]]:
    """Run the command; return the figures by day."""
    result = CliRunner().invoke(command, [str(directory), "--results", str(results)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (path,) = results.glob("*.json")
    assert path.with_suffix(".png").stat().st_size > 1000
    figures: dict[str, dict[str, float]] = json.loads(path.read_text())["figures"]
    return figures


def test_auc_is_the_share_of_pairs_in_the_right_order_ties_half():
    scores, at_risk = pd.Series([1.0, 2.0, 2.0, 3.0]), pd.Series([True, True, False, False])
    assert auc(scores, at_risk) == (1 + 1 + 0.5 + 1) / 4
    assert auc(-scores, at_risk) == pytest.approx(0.5 / 4)


def test_students_who_never_started_or_have_left_are_treated_as_the_protocol_says(tmp_path: Path):
    shutil.copytree(GOLDEN, tmp_path / "data")
    users = pd.read_csv(GOLDEN / "users.csv")
    rows = [
        f"{user},{course},2026-02-17,2026-01-01,," for user, course in zip(users["id"], users.iloc[:, 3], strict=True)
    ]
    outcomes = [row + ("fail" if number % 3 else "pass") for number, row in enumerate(rows)]
    outcomes[0] = outcomes[0].replace("2026-01-01,,", "2026-01-01,2026-03-17,")  # left on day 28
    header = "user_id,specialization,day0,registered_on,left_on,outcome"
    (tmp_path / "data" / "outcomes.csv").write_text("\n".join([header, *outcomes]) + "\n")
    figures = evaluated(tmp_path / "data", tmp_path)
    students = json.loads((tmp_path / "signals-data.json").read_text())["students"]
    assert students["28"] == users.iloc[:, 3].notna().sum() - 1
    assert 0 <= figures["28"]["AUC of engagement_score"] <= 1


def test_directory_without_outcomes_is_refused():
    result = CliRunner().invoke(command, [str(GOLDEN)])
    assert "has no outcomes.csv" in str(result.exception)


@pytest.mark.skipif(not OULAD.is_dir(), reason=f"the real data set is not next to the repository ({OULAD})")
def test_real_students_are_ranked_as_well_as_documented(tmp_path: Path):
    figures = evaluated(OULAD, tmp_path)
    for name, aucs in EXPECTED.items():
        assert [figures[str(day)][f"AUC of {name}"] for day in DAYS] == pytest.approx(aucs, abs=0.002), name
    assert steadiness(tmp_path)["precision of the weekly list"] > 0.8
    assert steadiness(tmp_path)["passers ever listed"] < 0.15
    assert steadiness(tmp_path)["changes of risk level per student and day"] < 0.03
