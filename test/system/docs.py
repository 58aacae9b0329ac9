"""The documents next to the sources: what each of them says, as plain data that can be compared."""
import ast
import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parents[2]
ROOMS = "common|registry|sql|worker|master|cli|etc|scripts|test"


def source(path):
    return (TOP / path).read_text()


# ---- documents ----

def section(text, heading):
    """The text below a heading, up to the next one of its rank or above."""
    lines, found, rank, code = text.splitlines(), None, 0, False
    for line in lines:
        code ^= line.startswith("```")
        marks = 0 if code else len(line) - len(line.lstrip("#"))
        if found is not None and 0 < marks <= rank:
            break
        if found is not None:
            found.append(line)
        elif marks and line[marks:].strip() == heading:
            found, rank = [], marks
    assert found is not None, f"no heading {heading!r}"
    return "\n".join(found)


def rows(text):
    """The tables' rows as lists of cells, without heads and rules; likewise the lists that stand for tables with long cells."""
    found, head = _list_rows(text), True
    for line in text.splitlines():
        if not line.startswith("|"):
            head = True
            continue
        if head or set(line) <= set("|-: "):
            head = False
            continue
        found.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def _list_rows(text):
    """Rows of "- **first cell** second cell", or below it "  - *head*: cell" for each further column that is not empty."""
    text = re.sub(r"\n +(?! |- )", " ", text)
    found = []
    for block in re.split(r"\n(?!- \*\*|  - )", text):
        items = [(first.strip(), rest.strip(), dict(re.findall(r"^  - \*(.+?)\*: (.*)$", below, flags=re.M)))
                 for first, rest, below in re.findall(r"^- \*\*(.+?)\*\*(.*)((?:\n  - .*)*)", block, flags=re.M)]
        heads = []
        for *_, cells in items:
            at = 0
            for head in cells:
                if head not in heads:
                    heads.insert(at, head)
                at = heads.index(head) + 1
        found += [[first] + ([rest] if rest else [cells.get(head, "") for head in heads]) for first, rest, cells in items]
    return found


def codes(text):
    return re.findall(r"`([^`\n]+)`", text)


def first_codes(text):
    """The first code word of each row's first cell."""
    return [codes(row[0])[0] for row in rows(text) if codes(row[0])]


def anchors(text):
    """GitHub's names for headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    titles = re.findall(r"^#+ +(.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(text):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.S))


def paths(text):
    """Code words that look like files or directories of the tree."""
    words = [word.rstrip("/") for word in codes(re.sub(r"```.*?```", "", text, flags=re.S))]
    return {word for word in words if re.fullmatch(rf"(?:{ROOMS})/[\w./-]+", word)}


# ---- C ----

def strip_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def c_names(text, array):
    """{enumerator: name} of an array of designated strings."""
    body = re.search(rf"{array}\[\w*\] = \{{(.*?)\}};", text, flags=re.S).group(1)
    return dict(re.findall(r'\[(\w+)\] = "([^"]*)"', body))


def enumerators(text, enum):
    body = strip_comments(re.search(rf"enum {enum} \{{(.*?)\}};", text, flags=re.S).group(1))
    return [name for name in re.findall(r"[A-Z][A-Z0-9_]+", body) if not name.endswith("_COUNT")]


STATE_MACHINES = {  # kind: the file with its table, the section that prints it
    "agent": ("registry/core/state.c", "Life of an agent"),
    "worker": ("registry/core/state.c", "Life of a worker"),
    "breaker": ("registry/core/breaker.c", "Life of a breaker"),
    "phase": ("registry/core/agent_phase.c", "An agent on its way into a worker"),
    "link": ("registry/redis/link_state.c", "Life of a connection to Redis"),
}


def state_names(kind):
    """{enumerator: name}; without an array of names, the enumerators' own words."""
    text = source(STATE_MACHINES[kind][0])
    if f"{kind}_names[" in text:
        return c_names(text, f"{kind}_names")
    header = source(STATE_MACHINES[kind][0][:-1] + "h")
    enum = re.search(rf"enum (\w+) \{{\s*{kind.upper()}_", header).group(1)
    return {name: name.removeprefix(f"{kind.upper()}_").lower() for name in enumerators(header, enum)}


def transitions(kind):
    """{(state, event): next state} in the words of documents, of one of STATE_MACHINES."""
    text, upper = source(STATE_MACHINES[kind][0]), kind.upper()
    names = state_names(kind)
    table = re.search(rf"{kind}_next\[.*?= \{{(.*?)\n\}};", text, flags=re.S).group(1)
    found = {}
    for state, cells in re.findall(rf"\[({upper}_\w+)\] = \{{(.*?)\}}", table, flags=re.S):
        for event, after in re.findall(rf"\[{upper}_EV_(\w+)\] = (\w+)", cells):
            found[names[state], event.lower()] = names[after]
    return found


def states(kind):
    return set(state_names(kind).values())


def matrix(text):
    """The same out of a table states x events, or events x states."""
    table = [line for line in text.splitlines() if line.startswith("|")]
    transposed = table[0].startswith("| event |")
    found = {}
    for row in rows("\n".join(table)):
        for column, cell in zip(codes(table[0]), row[1:], strict=True):
            place = (codes(row[0])[0], column)
            if codes(cell):
                found[place[::-1] if transposed else place] = codes(cell)[0]
    return found


def documented_states(text):
    table = [line for line in text.splitlines() if line.startswith("|")]
    return codes(table[0]) if table[0].startswith("| event |") else first_codes(text)


def forker_messages():
    """(from the master, from the forker), by the comments that divide the enum."""
    text = re.search(r"enum forker_message_type \{(.*?)\};", source("master/forker/forker_protocol.h"), flags=re.S).group(1)
    down, up = text.split("/* forker to master */")
    return tuple({name for name in re.findall(r"FORKER_\w+", strip_comments(part)) if not name.endswith("_COUNT")}
                 for part in (down, up))


def fault_points():
    return set(re.findall(r'FAULT_POINT\("([^"]+)"\)', "".join(source(path.relative_to(TOP)) for room in
                          ("common", "registry", "sql", "worker", "master") for path in (TOP / room).rglob("*.c"))))


def control_messages():
    text = source("registry/protocol/control.h")
    names = c_names(source("registry/protocol/control.c"), "names")
    down, up = re.search(r"enum control_type \{(.*?)\};", text, flags=re.S).group(1).split("/* worker to master */")
    return tuple({names[name] for name in re.findall(r"CONTROL_\w+", strip_comments(part)) if name in names}
                 for part in (down, up))


def envelope_types():
    """(commands, replies)"""
    text = source("registry/protocol/command.c")
    return tuple(set(c_names(text, array).values()) for array in ("command_names", "reply_names"))


def envelope_members():
    return set(re.findall(r'add_(?:name|string|id|integer|tree)\(&?text, "(\w+)"', source("registry/protocol/command.c")))


def welcome_members():
    return set(re.findall(r"FIELD\((\w+), SCHEMA", source("worker/welcome.c")))


def events():
    """Names of events that pools' rules raise, some by way of a variable, and that of what the API records."""
    files = set((TOP / "registry/core").glob("pool*.c")) - {TOP / "registry/protocol/pool_config.c"}
    text = "".join(path.read_text() for path in sorted(files))
    raised = set(re.findall(r'"((?:agent|worker|pool|rollout|breaker)_[a-z_]+)"', text))
    return raised | set(re.findall(r'\.event = "(\w+)"', source("master/api/audit.c")))


def routes():
    text = source("master/api/routes.c").replace('V1 "', '"/api/v1')
    return {f"{method} {path}" for method, path in re.findall(r'\{ HTTP_(\w+), "([^"]+)"', text)}


def number(text):
    """A C constant expression as a number."""
    known = {"MINUTES_10": "600000", "HOUR_MS": "3600000", "PETABYTE": "1125899906842624", "JSON_RAW_DEPTH_MAX": "4096"}
    for name, value in known.items():
        text = text.replace(name, value)

    def value(node):
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        left, right = value(node.left), value(node.right)
        return left << right if isinstance(node.op, ast.LShift) else left * right
    return value(ast.parse(text.strip(), mode="eval").body)


class Field:
    def __init__(self, name, kind, default=None, low=0, high=0, words=None, required=False, fields=None):
        self.name, self.kind, self.default, self.required = name, kind, default, required
        self.low, self.high, self.words, self.fields = low, high, words, fields

    def bounds(self):
        """As the documents write them."""
        if self.words:
            return ", ".join(f"`{word}`" for word in self.words)
        if self.kind == "BOOL":
            return "`true`, `false`"
        if self.kind == "ID":
            return "a UUID"
        unit = {"STRING": " bytes", "STRINGS": " entries", "MAP": " entries", "NAME": " bytes"}.get(self.kind, "")
        low, high = (1, 64) if self.kind == "NAME" else (self.low, self.high)
        return f"{low:g} to {high:.0f}{unit}"

    def default_text(self):
        return f"`{self.default}`" if self.default is not None else "required" if self.required else "none"


def _fields(text, array):
    body = re.search(rf"{array}\[\] = \{{(.*?)\n\}};", text, flags=re.S).group(1)
    for entry in re.findall(r"INTEGER\(.*?\)(?=,\n)|\{ \.name = \".*?\}(?=,\n)", body, flags=re.S):
        if entry.startswith("INTEGER"):
            name, _, low, high, default = [part.strip() for part in entry[8:-1].split(",")]
            yield Field(name, "INTEGER", default.strip('"'), number(low), number(high))
            continue
        value = dict(re.findall(r"\.(\w+) = (\"(?:[^\"\\]|\\.)*\"|[^,}]+(?:\([^)]*\))?)", entry))
        words = value.get("words")
        if words:
            words = re.findall(r'"(\w+)"', re.search(rf"{words.strip()}\[\] = \{{(.*?)\}};", text, flags=re.S).group(1))
        default = ast.literal_eval(value["fallback"]) if "fallback" in value else None
        nested = value.get("fields", "").strip() or None
        yield Field(ast.literal_eval(value["name"]), value["type"].strip().removeprefix("SCHEMA_"), default,
                    number(value.get("min", "0")), number(value.get("max", "0")), words,
                    "true" in value.get("required", ""), nested)


def settings(path, array, prefix=""):
    """{dotted key: Field} of a schema table and those nested in it; TREEs are other tables' business."""
    text, found = source(path), {}
    for field in _fields(text, array):
        if field.fields:
            found |= settings(path, field.fields, f"{prefix}{field.name}.")
        elif field.kind != "TREE":
            found[prefix + field.name] = field
    return found


def program_variables():
    return set(re.findall(r'"((?:AGENTPOOL_|TRACE|CREDENTIALS_)[A-Z_]+)(?:%s)?"', source("worker/runtime/agent_program.c")))


def common_variables():
    text = source("master/config/config_env.h")
    return set(re.findall(r"\b((?:REDIS|DATABASE|PGBOUNCER|MAX|LOG|PM_AGENT|CONNECTION)_[A-Z]+)\b", text.split("#ifndef")[0]))


def cli_commands():
    body = re.search(r"cli_commands\[\] = \{(.*?)\n\};", source("cli/commands.c"), flags=re.S).group(1)
    return set(re.findall(r'\{ "(\w+)",', body))


def daemon_flags():
    return {f"-{letter}" for letter in re.findall(r"^ +\"  -(\w) ", source("master/main.c"), flags=re.M)}


# ---- Lua, SQL ----

def scripts():
    return {path.stem for path in (TOP / "registry/redis/scripts").glob("*.lua")} - {"prelude"}


def lua():
    return {path.name: path.read_text() for path in sorted((TOP / "registry/redis/scripts").glob("*.lua"))}


def keys_in_scripts():
    """(whole keys, endings of keys): 'pool:' .. pool .. ':agents' is pool:<x>:agents; key .. ':ended' ends in :ended."""
    whole, endings = set(), set()
    for text in lua().values():
        code = "\n".join(line for line in text.splitlines() if not line.startswith(("-- KEYS", "-- ARGV")))
        code = re.sub(r"--.*", "", code)
        code = re.sub(r"'\s*\.\.\s*[\w\[\].]+(?:\s*\+\s*\d+\])?\s*\.\.\s*'", "<x>", code)
        for quoted in re.findall(r"'([^']*)'", code):
            if quoted.startswith(":") and len(quoted) > 1:
                endings.add(quoted)
            elif re.match(r"(?:pool|process|agent|master):", quoted):
                whole.add(re.sub(r":$", ":<x>", quoted))
            elif quoted == "pools":
                whole.add(quoted)
        for named in re.findall(r"^-- KEYS\[\d\] (\S+)", text, flags=re.M):
            whole.add(re.sub(r"<\w+>", "<x>", named))
    return whole, endings


def channels():
    """Those published to, and those subscribed to."""
    subscribed = re.findall(r'"(process|master):%s:(\w+)"', source("worker/registration.c") + source("master/life/master.c"))
    published = re.findall(r'publish\(registry, "(\w+):", [^"]*":(\w+)"', source("registry/redis/registry_redis.c"))
    scripted = re.findall(r"PUBLISH', '(\w+):' \.\. \w+ \.\. ':(\w+)'", "".join(lua().values()))
    return {f"{kind}:<x>:{name}" for kind, name in subscribed + published + scripted}


def _calls(text, name):
    """Arguments of each redis.call(name, …), split at the commas of their own depth."""
    for match in re.finditer(rf"redis\.call\('{name}',", text):
        depth, part, parts = 0, "", []
        for char in text[match.end():]:
            if char in "([{":
                depth += 1
            if char in ")]}":
                depth -= 1
            if depth < 0:
                break
            if char == "," and depth == 0:
                parts.append(part.strip())
                part = ""
            else:
                part += char
        yield parts + [part.strip()]


def hash_fields():
    """What scripts write into hashes, ends (agent id:epoch) excepted."""
    found = set()
    for text in lua().values():
        for call in ("HSET", "HSETNX", "HINCRBY"):
            for arguments in _calls(re.sub(r"--.*", "", text), call):
                found |= {name.strip("'") for name in arguments[1::2] if re.fullmatch(r"'\w+'", name)}
    return found


def redis_commands():
    """What a Redis user of ours must be allowed: the scripts' commands and our own."""
    found = {name.lower() for text in lua().values() for name in re.findall(r"redis\.call\('(\w+)'", text)}
    sources = "".join(source(f"registry/redis/{name}.c") for name in ("redis_link", "redis_session", "registry_redis"))
    found |= {name.lower() for name in re.findall(r'(?:SAY\([^"]*|send_plain\(registry, |add_text\(command, )"([A-Z]+)"', sources)}
    return {"script|load" if name == "script" else name for name in found} - {"auth"}


def sql_tables():
    """{table: columns}, the migrations' own included."""
    text = "".join(path.read_text() for path in sorted((TOP / "sql/migrations").glob("*.sql")))
    text = re.sub(r"--.*", "", text)
    found = {}
    for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\);", text, flags=re.S):
        found[name] = set(re.findall(r"^\s+([a-z]\w*) +[A-Z]", body, flags=re.M))
    for name, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", text):
        found[name].add(column)
    own = re.search(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\)\"\);", source("sql/migrations.c"), flags=re.S)
    found[own.group(1)] = set(re.findall(r"(\w+) (?:BIGINT|TEXT)", own.group(2)))
    return found


def faults():
    """(number, title) of each row that scripts/faults runs."""
    calls = re.findall(r'Row\((\d+), "([^"]*)"', source("test/faults/table.py"))
    assert calls
    return calls
