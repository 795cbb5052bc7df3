"""What is looked at when the faults of a fleet are over: has everything ended, and is anything left at the store."""

from __future__ import annotations

import json
import time

from support.server import run_cli

from faults.aftermath import STATES, Aftermath
from faults.fleet.cluster import Store
from faults.history import History, Row, Stored, Wrong
from faults.process import LONG

ROWS = {
    "postgresql": """
SELECT coalesce(json_agg(json_build_array(t.id, convert_from(t.metadata, 'UTF8')::json -> 'op', t.state, i.key)), '[]')
FROM tasks AS t LEFT JOIN idempotency AS i USING (seq)
""",
    "mariadb": """
SET SESSION group_concat_max_len = 1073741824;
SELECT CONCAT('[', COALESCE(GROUP_CONCAT(JSON_ARRAY(
    LOWER(INSERT(INSERT(INSERT(INSERT(HEX(t.id), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-')),
    JSON_EXTRACT(CONVERT(t.metadata USING utf8mb4), '$.op'), t.state, i.word)), ''), ']')
FROM tasks AS t LEFT JOIN idempotency AS i ON i.task = t.id
""",
}
#: What must be nowhere once all servers have stopped, and how many there are.
LEFT = {
    "leases of stopped servers": "SELECT count(*) FROM tasks WHERE holder IS NOT NULL OR state = 1",
    "deliveries that stopped servers hold": "SELECT count(*) FROM outbox WHERE holder IS NOT NULL",
    "servers that have not said that they ended": "SELECT count(*) FROM servers WHERE ended_at IS NULL",
}
LEFT_OF = {"postgresql": {"prepared transactions": "SELECT count(*) FROM pg_prepared_xacts"}, "mariadb": {}}
#: Sessions and locks go a moment after the processes that had them.
PASSING = {
    "postgresql": {
        "sessions": """SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()""",
        "advisory locks": """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
    },
    "mariadb": {
        "sessions": """SELECT count(*) FROM information_schema.processlist
            WHERE db = DATABASE() AND id <> CONNECTION_ID()""",
        "named locks": """SELECT (IS_USED_LOCK(CONCAT('cresset.', MD5(DATABASE()))) IS NOT NULL) + count(*) FROM servers
            WHERE IS_USED_LOCK(CONCAT('cresset.', MD5(DATABASE()), '.', id)) IS NOT NULL""",
    },
}


class StoreAftermath:
    """Looks at the store that all have left."""

    def __init__(self, store: Store, history: History) -> None:
        self._kind = store.kind
        self._database = store.database
        self._history = history

    def _wrong(self, promise: int, rule: str, what: str) -> None:
        self._history.tell(Wrong(time.monotonic(), promise, rule, what))

    def look(self, *, final: bool) -> None:
        """All tasks; and that nothing is left that belongs to a server."""
        for what, query in PASSING[self._kind].items():
            limit = time.monotonic() + LONG
            while (count := int(self._database.sql(query))) and time.monotonic() < limit:
                time.sleep(0.05)
            if count:
                self._wrong(8, "nothing_left_over", f"{count} {what} at a store that all have left")
        for what, query in (LEFT | LEFT_OF[self._kind]).items():
            if count := int(self._database.sql(query)):
                self._wrong(8, "nothing_left_over", f"{count} {what}")
        rows = [
            Row(task, op, STATES[state], key)
            for task, op, state, key in json.loads(self._database.sql(ROWS[self._kind]))
        ]
        self._history.tell(Stored(time.monotonic(), final, tuple(rows)))
        said = run_cli("store", "check", "--store", self._database.url, "--json", check=False)
        report = json.loads(said.stdout) if said.stdout else {"ok": False, "said": said.stderr}
        if not report["ok"]:
            self._wrong(1, "store_is_sound", f"cresset store check says {report}")


def stop(aftermaths: list[Aftermath]) -> None:
    """Clean stops, one after the other."""
    for aftermath in aftermaths:
        aftermath.stop()
