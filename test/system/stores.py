"""The stores that a daemon may have, and a look into them past the daemon."""
import contextlib
import itertools
import json
import sqlite3
import subprocess

STORES = ("sqlite", "postgresql", "pgbouncer")
numbers = itertools.count()


def settings_for(kind, postgres):
    """Settings of a Daemon with a new database of that kind; postgres() gives the servers."""
    if kind == "sqlite":
        return {}
    name = f"store{next(numbers)}"
    if kind == "postgresql":
        return {"database": {"url": postgres().url(name)}}
    return {"env": {"PGBOUNCER_URL": postgres().bouncer_url(name)}}


def rows(daemon, query):
    """The rows of a query that yields one JSON-able column each, as texts."""
    url = daemon.env.get("PGBOUNCER_URL", daemon.config["database"]["url"])
    if url.startswith("sqlite:"):
        connection = sqlite3.connect(f"file:{url.removeprefix('sqlite:')}?mode=ro", uri=True, timeout=30)
        try:
            return [tuple("" if cell is None else str(cell) for cell in row) for row in connection.execute(query)]
        finally:
            connection.close()
    return [tuple(line.split("\t")) for line in psql(url, query).splitlines()]


def write(daemon, *statements):
    """As somebody does who knows better."""
    url = daemon.env.get("PGBOUNCER_URL", daemon.config["database"]["url"])
    if url.startswith("sqlite:"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:"), timeout=30)) as connection, connection:
            connection.executescript(";".join(statements))
    else:
        psql(url, ";".join(statements))


@contextlib.contextmanager
def held(daemon):
    """Meanwhile the daemon can write no agent, as on a disk that takes its time; it can read."""
    url = daemon.env.get("PGBOUNCER_URL", daemon.config["database"]["url"])
    if url.startswith("sqlite:"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:"), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
        return
    with subprocess.Popen(["psql", "-XAtq", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session:
        session.stdin.write("BEGIN; LOCK TABLE agentpool.agents IN EXCLUSIVE MODE; SELECT 'held';\n")
        session.stdin.flush()
        assert session.stdout.readline() == "held\n"
        yield
        session.stdin.close()


def psql(url, query, schema="agentpool"):
    """What a script prints that is run past the daemon, direct or through PgBouncer."""
    return subprocess.run(["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c",
                           f"BEGIN; SET LOCAL search_path = {schema}; {query}; COMMIT", url],
                          check=True, capture_output=True, text=True).stdout


def states(daemon):
    """{agent id: (state, epoch)} as the store has it."""
    return {agent_id: (state, int(epoch)) for agent_id, state, epoch in
            rows(daemon, "SELECT agent_id, state, epoch FROM agents")}


def comparable(agent, *without):
    """What of an agent's record survives any restart."""
    moving = {"process_id", "process", "epoch", "updated_at", "state", "messages_in_flight", "history", "cpu_ms", "rss_bytes",
              "processes", *without}
    return json.dumps({key: value for key, value in agent.items() if key not in moving}, sort_keys=True)
