"""The checks of the house (scripts/lint-includes, scripts/lint-text): each finds what it is for, in a tree of its own."""
import os
import subprocess

import pytest

TOP = os.path.join(os.path.dirname(__file__), "..", "..")
HEADER = "/* What it is. */\n#ifndef {guard}\n#define {guard}\n{body}#endif\n"


def header(path, body=""):
    return HEADER.format(guard=path.replace("/", "_").replace(".", "_").upper(), body=body)


def run(script, tree, files):
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    done = subprocess.run([os.path.join(TOP, "scripts", script), str(tree)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


SOUND = {
    "common/fd.h": header("common/fd.h"),
    "sql/store.h": header("sql/store.h", '#include "common/fd.h"\n'),
    "sql/store.c": '#include "sql/store.h"\n\nint one(void)\n{\n        return 1;\n}\n',
}
LONG = "/* Long. */\nint long_one(void)\n{\n" + "        work();\n" * 61 + "}\n"


@pytest.mark.parametrize("files, finding", [
    ({"sql/store.c": '/* A. */\n#include "worker/worker.h"\n'}, 'sql/store.c:2: sql must not include "worker/worker.h"'),
    ({"registry/core/a.h": header("registry/core/a.h", '#include "registry/protocol/b.h"\n'),
      "registry/protocol/b.h": header("registry/protocol/b.h", '#include "registry/core/a.h"\n')},
     "a circle of folders: registry/core -> registry/protocol -> registry/core"),
    ({"sql/a.h": header("sql/a.h"), "sql/a.c": '#include "sql/a.h"\n#include "sql/b.h"\n',
      "sql/b.h": header("sql/b.h", '#include "sql/a.h"\n')}, "a circle of files: sql/a -> sql/b -> sql/a"),
    ({"sql/a.c": "/* A. */\n" + "int x;\n" * 500}, "sql/a.c: 501 lines, more than 500"),
    ({f"sql/a{i}.c": "/* A. */\n" + "int x;\n" * 499 for i in range(10)}, "lines, more than 4500"),
    ({"sql/a.c": LONG}, "sql/a.c: long_one has 61 lines, more than 60"),
    ({"sql/a.h": header("sql/b.h")}, "sql/a.h: its include guard is not SQL_A_H"),
    ({"sql/a.c": "int x;\n"}, "sql/a.c: does not open by saying what it is"),
])
def test_names_what_is_wrong_when_a_source_lies_badly(tmp_path, files, finding):
    assert run("lint-includes", tmp_path, SOUND) == (0, "lint-includes: 3 files, no circle\n")
    status, output = run("lint-includes", tmp_path, files)
    assert status == 1
    assert finding in output


@pytest.mark.parametrize("path, text, finding", [
    ("a.c", "int x;", "a.c: does not end with a newline"),
    ("a.c", "int x; \n", "a.c:1: blanks at the end of the line"),
    ("a.c", "\tint x;\n", "a.c:1: a tab indents"),
    ("a.c", "/*" + "x" * 160 + "*/\n", "a.c:1: 164 columns, more than 160"),
])
def test_names_the_line_when_a_text_is_not_as_it_should_be(tmp_path, path, text, finding):
    with open(os.path.join(TOP, ".editorconfig"), encoding="utf-8") as file:
        rules = file.read()
    assert run("lint-text", tmp_path, {".editorconfig": rules, "Makefile": "all:\n\ttrue\n"})[0] == 0
    assert run("lint-text", tmp_path, {path: text}) == (1, finding + "\n")


def test_fails_when_there_is_nothing_to_check(tmp_path):
    assert run("lint-includes", tmp_path, {})[0] == 1
