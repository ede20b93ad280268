"""A platform in a schema of its own, for a test to spoil."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, func, select, text

from snapshot_pipeline.platform.contract import Finding, RowRules, check_platform


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Platform:
    """A schema that holds a whole platform with one student, for a test to spoil."""

    engine: Engine
    schema: str

    def run(self, *statements: str) -> None:
        """Run statements with the schema as the search path."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(select(func.set_config("search_path", quoted(self.schema), False)))
            for statement in statements:
                connection.execute(text(statement))

    def check(self, engine: Engine | None = None, seconds: float = 60, rules: RowRules | None = None) -> list[Finding]:
        """What `check_platform` finds."""
        return check_platform(engine or self.engine, self.schema, seconds, rules)

    def only(self, severity: str, table: str | None, rules: RowRules | None = None) -> Finding:
        """The one finding that there is."""
        (finding,) = self.check(rules=rules)
        assert (finding.severity, finding.table) == (severity, table)
        assert "\n" not in finding.message
        return finding

    def remediation(self, finding: Finding) -> None:
        """Paste the statement; afterwards nothing is found any more."""
        assert finding.statement is not None
        assert finding.statement.endswith(";")
        self.run(finding.statement)
        assert self.check() == []
