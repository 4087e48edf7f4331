"""A DuckDB in a process of its own: one JSON object per line in ({"sql": text}), one out ({"columns", "rows"} or {"error"}).

Bytes come back as hex, as the platform prints them, and times as microseconds since the epoch: DuckDB's times with a zone
have no nanoseconds.
"""

import datetime
import json
import sys
from pathlib import Path

import duckdb
import duckdb_extension_ducklake

EXTENSIONS = ["ducklake", "sqlite_scanner", "postgres_scanner", "httpfs"]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def main():
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    packages = Path(duckdb_extension_ducklake.__file__).parents[1]
    for name in EXTENSIONS:
        (file,) = packages.glob(f"duckdb_extension_{name}/extensions/*/{name}.duckdb_extension")
        connection.execute(f"LOAD '{file}'")
    connection.execute("SET TimeZone = 'UTC'")
    for line in sys.stdin:
        try:
            done = connection.execute(json.loads(line)["sql"])
            columns = [column[0] for column in done.description or []]
            answer = {"columns": columns, "rows": [[plain(value) for value in row] for row in done.fetchall()]}
        except duckdb.Error as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
