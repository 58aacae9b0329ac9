"""The documents say what the sources say. Each check takes the documents as texts and returns what differs,
so that the second half can show, with a document that was spoilt, that it finds it."""
import os
import re

import pytest

import docs

README, PROTOCOL, WORKING = "README.md", "MULTIPROCESSING.md", "CONTRIBUTING.md"
API, SETTINGS, COMMANDS, AGENTS, NETWORK = (f"etc/man/{name}.md" for name in ("api", "settings", "commands", "agents", "network"))


@pytest.fixture(scope="module")
def texts():
    return {name: docs.source(name) for name in (README, PROTOCOL, WORKING, API, SETTINGS, COMMANDS, AGENTS, NETWORK)}


def differ(documented, true, what):
    documented, true = set(documented), set(true)
    return ([f"{what}: {name} is not documented" for name in sorted(true - documented)]
            + [f"{what}: {name} is documented and does not exist" for name in sorted(documented - true)])


def missing(names, text, what):
    return [f"{what}: {name} is not mentioned" for name in sorted(names) if name not in text]


# ---- MULTIPROCESSING.md ----

def check_states(texts):
    found = []
    for kind, (_, title) in docs.STATE_MACHINES.items():
        text = docs.section(texts[PROTOCOL], title)
        table, true = docs.matrix(text), docs.transitions(kind)
        found += differ(docs.documented_states(text), docs.states(kind), f"{kind} state")
        found += differ({f"{state} + {event} = {after}" for (state, event), after in table.items()},
                        {f"{state} + {event} = {after}" for (state, event), after in true.items()}, f"{kind} transition")
    return found


def check_forker_messages(texts):
    headings = ("From master to forker", "From forker to master")
    return [line for heading, true in zip(headings, docs.forker_messages(), strict=True)
            for line in differ(docs.first_codes(docs.section(texts[PROTOCOL], heading)), true, heading)]


def check_control_messages(texts):
    headings = ("From master to worker", "From worker to master")
    found = [line for heading, true in zip(headings, docs.control_messages(), strict=True)
             for line in differ(docs.first_codes(docs.section(texts[PROTOCOL], heading)), true, heading)]
    welcome = next(row for row in docs.rows(docs.section(texts[PROTOCOL], headings[0])) if row[0] == "`welcome`")
    return found + differ(docs.codes(welcome[1]), docs.welcome_members(), "welcome's settings")


def check_envelopes(texts):
    text = docs.section(texts[PROTOCOL], "Envelopes: commands and replies")
    found = []
    for heading, true in zip(("Commands", "Replies"), docs.envelope_types(), strict=True):
        found += differ(docs.first_codes(docs.section(text, heading)), true, heading)
    return found + missing({f"`{name}`" for name in docs.envelope_members()}, text, "envelope member")


def unnamed(key):
    return re.sub(r"<\w+>", "<x>", key)


def check_redis_keys(texts):
    keys = {unnamed(key) for key in docs.first_codes(docs.section(texts[PROTOCOL], "Keys"))}
    channels = {unnamed(key) for key in docs.first_codes(docs.section(texts[PROTOCOL], "Channels"))}
    whole, endings = docs.keys_in_scripts()
    found = differ(keys, whole - docs.channels(), "Redis key") + differ(channels, docs.channels(), "Redis channel")
    found += [f"no documented key ends in {ending}" for ending in sorted(endings)
              if not any(key.endswith(ending) for key in keys)]
    text = docs.section(texts[PROTOCOL], "Keys")
    return found + missing({f"`{name}`" for name in docs.hash_fields()}, text, "hash field")


def check_scripts_in_redis(texts):
    return differ(docs.first_codes(docs.section(texts[PROTOCOL], "Scripts")), docs.scripts(), "script in Redis")


def check_events(texts):
    cells = [row[0] for row in docs.rows(docs.section(texts[PROTOCOL], "Events"))]
    return differ([name for cell in cells for name in docs.codes(cell)], docs.events(), "event")


def check_sql_tables(texts):
    documented = {docs.codes(row[0])[0]: set(docs.codes(row[1])) for row in docs.rows(docs.section(texts[PROTOCOL], "SQL"))}
    true = docs.sql_tables()
    found = differ(documented, true, "SQL table")
    for table in documented.keys() & true.keys():
        found += differ(documented[table], true[table], f"column of {table}")
    return found


def check_redis_rights(texts):
    line = re.search(r"ACL SETUSER agentpool (.*?)```", docs.section(texts[PROTOCOL], "A Redis of your own"), flags=re.S).group()
    found = differ(re.findall(r"\+([a-z|]+)", line), docs.redis_commands(), "right in Redis")
    whole, _ = docs.keys_in_scripts()
    found += differ(re.findall(r"~([a-z]+)", line), {key.split(":")[0] for key in whole}, "keys in Redis")
    return found + differ(re.findall(r"&([a-z]+)", line), {name.split(":")[0] for name in docs.channels()}, "channels")


def check_faults(texts):
    text = docs.section(texts[PROTOCOL], "Faults it survives, and how each is shown")
    return differ([tuple(row[0].split(". ", 1)) for row in docs.rows(text)], docs.faults(), "fault")


def check_fault_points(texts):
    return differ(docs.first_codes(docs.section(texts[PROTOCOL], "Fault points")), docs.fault_points(), "fault point")


# ---- CONTRIBUTING.md, etc/man/ ----

def check_routes(texts):
    words = docs.first_codes(docs.section(texts[API], "The API"))
    return differ([word for word in words if re.match(r"[A-Z]+ /", word)], docs.routes(), "route")


def check_settings(texts, heading, path, array, has_variable):
    documented = {docs.codes(row[0])[0]: row for row in docs.rows(docs.section(texts[SETTINGS], heading))
                  if len(row) == 4 + has_variable}
    true = docs.settings(path, array)
    found = differ(documented, true, "setting")
    for key in documented.keys() & true.keys():
        cells, field = documented[key], true[key]
        wanted = [field.default_text(), field.bounds()]
        if has_variable:
            wanted.append("`AGENTPOOL_" + key.upper().replace(".", "_") + "`")
        found += [f"{key}: the document says {cell}, the source {want}" for cell, want in zip(cells[1:], wanted) if cell != want]
    return found


def check_daemon_settings(texts):
    return check_settings(texts, "The daemon", "master/config/settings.c", "config_fields", True)


def check_pool_settings(texts):
    return check_settings(texts, "A pool", "registry/protocol/pool_config.c", "pool_config_fields", False)


def check_variables(texts):
    rows = docs.rows(docs.section(texts[SETTINGS], "The daemon"))
    common = [name for row in rows if len(row) == 2 for name in docs.codes(row[0])]
    program = [re.sub("<.*", "", name) for name in docs.first_codes(docs.section(texts[AGENTS], "A program"))]
    return (differ(common, docs.common_variables(), "common variable")
            + differ(program, docs.program_variables(), "variable of an agent's program"))


def check_commands(texts):
    words = docs.first_codes(docs.section(texts[COMMANDS], "The command line"))
    flags = set(docs.codes(docs.section(texts[SETTINGS], "Flags, exit codes, signals")))
    return (differ({word.split()[0] for word in words}, docs.cli_commands(), "command")
            + differ({flag for flag in flags if re.fullmatch("-[a-zA-Z]", flag)}, docs.daemon_flags(), "flag"))


def check_scripts(texts):
    files = {f"scripts/{path.name}" for path in (docs.TOP / "scripts").iterdir() if path.is_file()}
    documented = {word.split()[0] for row in docs.rows(docs.section(texts[WORKING], "Building and installing"))
                  for word in docs.codes(" ".join(row)) if word.startswith("scripts/")}
    return differ(documented, files, "script")


# ---- all ----

def check_links(texts):
    found = []
    for name, text in texts.items():
        for link in docs.links(text):
            if re.match(r"https?:", link):
                continue
            path, _, anchor = link.partition("#")
            where = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            if not (docs.TOP / where).exists():
                found.append(f"{name}: no {where}")
            elif anchor and anchor not in docs.anchors(texts[where]):
                found.append(f"{name}: no heading for {link}")
        found += [f"{name}: no file {path}" for path in sorted(docs.paths(text)) if not (docs.TOP / path).exists()]
    return found


def check_length(texts):
    """What is read in a terminal and in a review. Reference tables, whose rows cannot be broken, are elsewhere."""
    found = [f"{name}: line {number} has {len(line)} columns" for name in (README, PROTOCOL, WORKING)
             for number, line in enumerate(texts[name].splitlines(), 1)
             if len(line) > 120 and not (name == WORKING and line.startswith("|"))]
    lines = len(texts[README].splitlines())
    return found + ([f"{README} has {lines} lines, more than 250"] if lines > 250 else [])


CHECKS = [check_states, check_forker_messages, check_control_messages, check_envelopes, check_redis_keys, check_scripts_in_redis,
          check_events, check_sql_tables, check_redis_rights, check_faults, check_fault_points, check_routes, check_daemon_settings, check_pool_settings,
          check_variables, check_commands, check_scripts, check_links, check_length]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_agrees_with_the_sources_when_read(texts, check):
    assert check(texts) == []


# One spoilt passage each: something taken away, something made up, something changed.
SPOILT = [
    (check_states, PROTOCOL, "| `failed` | | | | | | | | `terminated` |\n", ""),
    (check_states, PROTOCOL, "| `doubt` | `sent` | |", "| `doubt` | | `sent` |"),
    (check_states, PROTOCOL, "| `greeting` | | | `up` | `down` |", "| `greeting` | | `up` | | `down` |"),
    (check_states, PROTOCOL, "| `stale` | | | | `exited` |", "| `stale` | `ready` | | | `exited` |"),
    (check_states, PROTOCOL, "| `stopping` | | | | | | | | `terminated` |", "| `stopping` | | | | | | | | `stopped` |"),
    (check_forker_messages, PROTOCOL, "- **`FORKER_SYNCED`**", "- **`FORKER_DONE`**"),
    (check_control_messages, PROTOCOL, "- **`pong`**", "- **`pang`**"),
    (check_control_messages, PROTOCOL, "`host`, `run_dir`,", "`run_dir`,"),
    (check_envelopes, PROTOCOL, "- **`spawn_failed`**", "- **`refused`**"),
    (check_envelopes, PROTOCOL, "`start_reason`, `project_id`, `heartbeat_interval`", "`project_id`, `heartbeat_interval`"),
    (check_redis_keys, PROTOCOL, "- **`pool:<name>:exited`**", "- **`pool:<name>:dead`**"),
    (check_redis_keys, PROTOCOL, "- **`process:<id>:ended`**", "- **`process:<id>:ends`**"),
    (check_redis_keys, PROTOCOL, "| `pool:<name>:events` |", "| `pool:<name>:news` |"),
    (check_redis_keys, PROTOCOL, "`revision` (grows", "(grows"),
    (check_scripts_in_redis, PROTOCOL, "- **`sweep`**", "- **`brush`**"),
    (check_events, PROTOCOL, "- **`worker_stale`**", "- **`worker_hung`**"),
    (check_sql_tables, PROTOCOL, "- **`pool_metrics`**", "- **`metrics`**"),
    (check_sql_tables, PROTOCOL, "`duration_ms`\n", "`duration`\n"),
    (check_redis_rights, PROTOCOL, " +hvals", ""),
    (check_redis_rights, PROTOCOL, " '&master:*'", ""),
    (check_faults, PROTOCOL, "- **9. forker killed**", "- **9. forker stopped**"),
    (check_fault_points, PROTOCOL, "- **`spawn.reserved`**", "- **`spawn.placed`**"),
    (check_routes, API, "| `POST /api/v1/agents/terminate` |", "| `DELETE /api/v1/agents/{agent_id}` |"),
    (check_daemon_settings, SETTINGS, "| `server.max_connections` | `1000` |", "| `server.max_connections` | `1024` |"),
    (check_daemon_settings, SETTINGS, "`AGENTPOOL_LOG_LEVEL`", "`AGENTPOOL_LOGLEVEL`"),
    (check_daemon_settings, SETTINGS, "| `redis.ping_interval_ms` |", "| `redis.ping_ms` |"),
    (check_pool_settings, SETTINGS, "| `restart.policy` | `\"permanent\"` |", "| `restart.policy` | `\"transient\"` |"),
    (check_pool_settings, SETTINGS, "| `max_workers` | `100` | 1 to 65536 |", "| `max_workers` | `100` | 1 to 1000 |"),
    (check_variables, SETTINGS, "| `PGBOUNCER_URL` |", "| `PGPOOL_URL` |"),
    (check_variables, AGENTS, "| `AGENTPOOL_EPOCH` |", "| `AGENTPOOL_ERA` |"),
    (check_commands, COMMANDS, "| `why AGENT` |", "| `explain AGENT` |"),
    (check_commands, SETTINGS, "`-T` prints what is in force", "it prints what is in force"),
    (check_scripts, WORKING, "| `scripts/bench` |", "| `scripts/measure` |"),
    (check_links, README, "(LICENSE)", "(LICENCE)"),
    (check_links, API, "MULTIPROCESSING.md#events", "MULTIPROCESSING.md#news"),
    (check_links, PROTOCOL, "`registry/core/roster.c`", "`registry/core/rooster.c`"),
    (check_length, PROTOCOL, "\n", " " * 121 + "\n"),
    (check_length, README, "\n", "\n\n"),
]


@pytest.mark.parametrize("check,name,was,becomes", SPOILT, ids=[f"{s[0].__name__}-{i}" for i, s in enumerate(SPOILT)])
def test_finds_the_difference_when_a_document_is_spoilt(texts, check, name, was, becomes):
    assert was in texts[name]
    assert check({**texts, name: texts[name].replace(was, becomes)}) != []


def test_proves_every_check_when_it_is_complete():
    assert {spoilt[0] for spoilt in SPOILT} == set(CHECKS)
