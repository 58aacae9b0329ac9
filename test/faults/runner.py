#!/usr/bin/python3
"""Runs the fault table: each row in a directory and in process, mount and network namespaces of its own, two at a time.

  scripts/faults [--row N[,N…]] [--seed S] [--keep] [--json FILE] [--again] [--agents WORKERSxAGENTS]
  scripts/faults --random N [--seed S]      N faults drawn from the injectors, one after the other, under load

One line per row: what was injected and how often, the time from an injection until what must happen has happened
(median and worst), the seven checks of scripts/check, the verdict. Exit status 0 when no row failed; a row that this
machine cannot run is named and does not count as passed. With --again a row that failed is run once more, alone, and
both verdicts are told: on a machine with too much to do a deadline of the test's own may pass.
"""
import argparse
import faulthandler
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path[:0] = [str(HERE), str(TOP / "test" / "system"), str(TOP / "test")]
import cgroups  # noqa: E402

FAULTS_BUILD = TOP / "build" / "faults"
AT_A_TIME = 2
HEAD = "| # | fault | injected | recovered ms: median / worst | checks | verdict | s |\n|--:|---|---|--:|---|---|--:|"


# --- inside the namespaces ---

def become_init():
    """The first process of a process namespace inherits all orphans: a parent that reaps, and the row as its child."""
    row = os.fork()
    if row == 0:
        return
    while True:
        pid, status = os.wait()
        if pid == row:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def measure(scene, run):
    """One row's result, as it is printed."""
    from scene import Skip
    result = {"verdict": "ok", "why": ""}
    try:
        run(scene)
        scene.check_all()
    except Skip as why:
        result = {"verdict": "skipped", "why": str(why)}
    except BaseException as error:
        lines = str(error).strip().splitlines() or [""]
        result = {"verdict": "FAILED", "why": f"{type(error).__name__}: {lines[0]}"[:300], "trace": traceback.format_exc() + scene.reveal()}
    try:
        scene.finish()
    except BaseException as error:
        result = {"verdict": "FAILED", "why": f"at the end: {error}"[:300], "trace": traceback.format_exc()}
    if result["verdict"] == "ok" and any(scene.checks.values()):
        number, found = next((number, found) for number, found in scene.checks.items() if found)
        result |= {"verdict": "FAILED", "why": f"check {number}: {found[0].splitlines()[0]}"[:300]}
    return result | {"injected": scene.injections, "recovered_ms": scene.recoveries, "checks": scene.checks,
                     "figures": scene.figures + scene.refusals()}


def inside(name, directory, seed, limit):
    become_init()
    if limit:
        faulthandler.dump_traceback_later(limit - 3)  # where it was, should it be ended as overdue
    from scene import Scene
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/shm"], check=True)
    if name == "random":
        from random_faults import play
        seed, _, number = seed.rpartition(":")

        def run(scene):
            play(scene, int(number))
    else:
        from table import ROWS
        run = next(row.run for row in ROWS if row.number == int(name))
    result = measure(Scene(name, directory / "scene", seed), run)
    (directory / "result").write_text(json.dumps(result))


# --- outside ---

def start_row(name, directory, seed, limit, needs_faults, output):
    (directory / "scene").mkdir(parents=True)
    # Whatever ends this process, by whatever means, ends all of the row: the kernel empties a namespace whose init dies.
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
               sys.executable, str(HERE / "runner.py"), "--inside", name, "--directory", str(directory), "--seed", str(seed), "--limit", str(limit)]
    if os.geteuid() != 0:
        command[4:4] = ["--user", "--map-root-user"]
    env = {**os.environ, "TMPDIR": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    env.setdefault("AGENTPOOL_TEST_PATIENCE", "60")
    if needs_faults:
        env["AGENTPOOL_BUILD"] = str(FAULTS_BUILD)
    return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                            start_new_session=True)


def end_row(process):
    if process.poll() is None:
        process.kill()
    process.wait()


def read_result(directory, process, overdue):
    try:
        result = json.loads((directory / "result").read_text())
    except (OSError, ValueError):
        path = directory.with_name("output")
        output = path.read_text(errors="replace").strip() if path.exists() else ""
        why = f"not done within {overdue} s" if overdue else f"the row ended with {process.returncode}: {output[-300:]}"
        skipped = not overdue and output.startswith("unshare:")
        result = {"verdict": "skipped" if skipped else "FAILED", "why": (why.splitlines() or [""])[-1], "injected": {}, "recovered_ms": [],
                  "checks": {}, "figures": [], "trace": output[-4000:]}
    return result


def cell(text):
    return str(text).replace("|", "/").replace("\n", " ")


def line_of(row, result):
    injected = ", ".join(f"{what}: {times}" for what, times in result["injected"].items())
    times = result["recovered_ms"]
    recovered = f"{statistics.median_low(times)} / {max(times)}" if times else "-"
    failed = "".join(str(number) for number, found in result["checks"].items() if found)
    checks = "-" if result["verdict"] == "skipped" or not result["checks"] else f"failed: {failed}" if failed else "1234567"
    verdict = {"ok": "ok", "FAILED": f"FAILED: {result['why']}", "skipped": f"skipped: {result['why']}"}[result["verdict"]]
    if result["verdict"] == "ok" and result["figures"]:
        verdict += "; " + "; ".join(result["figures"])
    return "| " + " | ".join(map(cell, (row.number, row.title, injected or "-", recovered, checks, verdict,
                                         round(result["seconds"])))) + " |"


class Table:
    """Prints the lines in the order of their numbers, as soon as all before are known."""

    def __init__(self, rows):
        self.rows, self.results, self.shown = rows, {}, 0
        print(HEAD, flush=True)

    def add(self, row, result):
        self.results[row.number] = result
        while self.shown < len(self.rows) and self.rows[self.shown].number in self.results:
            shown = self.rows[self.shown]
            print(line_of(shown, self.results[shown.number]), flush=True)
            self.shown += 1


def run_rows(rows, base, seed, table, at_a_time=AT_A_TIME):
    waiting, running = list(rows), {}
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                row = waiting.pop(0)
                directory = base / str(row.number)
                directory.mkdir()
                with open(directory / "output", "wb") as output:
                    process = start_row(str(row.number), directory / "row", seed, row.budget * 3, row.needs_faults, output)
                running[row] = (process, time.monotonic())
            time.sleep(0.05)
            for row, (process, begin) in list(running.items()):
                seconds, limit = time.monotonic() - begin, row.budget * 3
                if process.poll() is None and seconds < limit:
                    continue
                overdue = limit if process.poll() is None else 0
                end_row(process)
                del running[row]
                result = read_result(base / str(row.number) / "row", process, overdue)
                table.add(row, result | {"seconds": seconds})
    finally:
        for process, _ in running.values():
            end_row(process)


def build(needs_faults, needs_fuzzers=False):
    """The builds that are tested; output only when one fails."""
    builds = [["make", "-s", "-j2", "all"]] if "AGENTPOOL_BUILD" not in os.environ else []
    if needs_faults:
        builds.append(["make", "-s", "-j2", "FAULTS=1", f"BUILD={FAULTS_BUILD.relative_to(TOP)}", "all"])
    if needs_fuzzers:
        builds.append(["make", "-s", "-j2", "fuzz"])
    for command in builds:
        done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def run_table(options, base):
    from table import ROWS
    wanted = [row for row in ROWS if not options.row or row.number in options.row]
    build(any(row.needs_faults for row in wanted), any(row.needs_fuzzers for row in wanted))
    begin, table = time.monotonic(), Table(wanted)
    run_rows(wanted, base, options.seed, table)
    results = table.results
    failed = [row for row in wanted if results[row.number]["verdict"] == "FAILED"]
    report(failed, results)
    if options.again and failed:
        print("\nonce more:\n")
        table = Table(failed)
        (base / "again").mkdir()
        run_rows(failed, base / "again", options.seed, table, 1)
        results |= table.results
        failed = [row for row in failed if results[row.number]["verdict"] == "FAILED"]
        report(failed, results)
    if options.json:
        options.json.write_text(json.dumps({"seed": options.seed, "rows": {row.number: {"title": row.title, **results[row.number]}
                                                                           for row in wanted}}, indent=1))
    passed = sum(result["verdict"] == "ok" for result in results.values())
    print(f"\n{passed}/{len(wanted)} in {time.monotonic() - begin:.0f} s, seed {options.seed}")
    return 1 if failed else 0


def report(failed, results):
    for row in failed:
        result = results[row.number]
        print(f"\nrow {row.number}, {row.title}: {result['why']}")
        for number, found in result["checks"].items():
            print("".join(f"  check {number}: {text[:500]}\n" for text in found[:5]), end="")
        print(result.get("trace", ""), end="")


def run_random(options, base):
    build(True)
    print("| # | faults | API answers after ms | settled after ms | checks |\n|--:|---|--:|--:|---|", flush=True)
    (base / "random").mkdir()
    process = start_row("random", base / "random" / "row", f"{options.seed}:{options.random}", 0, True, None)
    try:
        process.wait()
    finally:
        end_row(process)
    result = read_result(base / "random" / "row", process, 0)
    if result["verdict"] == "ok":
        print(f"{options.random} faults survived, seed {options.seed}")
        return 0
    print(f"{result['verdict']}: {result['why']}\n{result.get('trace', '')}")
    for number, found in result["checks"].items():
        print("".join(f"  check {number}: {text[:500]}\n" for text in found[:5]), end="")
    print(f"again: scripts/faults --random {options.random} --seed {options.seed}")
    return 1


def remove(directory):
    """What was just killed may still be writing."""
    for _ in range(50):
        cgroups.remove(directory.name)
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)
    print(f"scripts/faults: cannot remove {directory}", file=sys.stderr)


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="scripts/faults", description="Injects the faults of the table, and says what became of it.")
    parser.add_argument("--row", type=lambda text: [int(number) for number in text.split(",")], default=[], metavar="N[,N…]")
    parser.add_argument("--random", type=int, metavar="N", help="N faults drawn at random, under load")
    parser.add_argument("--seed", help="of all choices; drawn unless given")
    parser.add_argument("--agents", metavar="WORKERSxAGENTS", help="size of row 34: so many workers with so many agents each")
    parser.add_argument("--again", action="store_true", help="run a row that failed once more, alone")
    parser.add_argument("--keep", action="store_true", help="keep the directories with logs and databases")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.seed = options.seed or str(random.SystemRandom().randrange(1 << 32))
    return options


def main(arguments):
    options = parse_options(arguments)
    if options.agents:
        os.environ["AGENTPOOL_FAULTS_AGENTS"] = options.agents
    if options.inside:
        inside(options.inside, options.directory, options.seed, options.limit)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    base = pathlib.Path(tempfile.mkdtemp(prefix="ap-faults-", dir="/tmp"))
    base.chmod(0o755)  # servers run as users of their own
    try:
        return run_random(options, base) if options.random else run_table(options, base)
    except KeyboardInterrupt:
        return 130
    finally:
        if options.keep:
            print(f"kept: {base}")
            cgroups.remove(base.name)
        else:
            remove(base)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
