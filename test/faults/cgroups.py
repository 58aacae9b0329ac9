"""Cgroups that a row makes to run the daemon's processes out of memory or processes. The runner removes what is left of them."""
import contextlib
import pathlib

ROOT = pathlib.Path("/sys/fs/cgroup")


def make(name, controller):
    """A new cgroup with that controller, of either version; None where this machine offers none."""
    for base in (ROOT / controller, ROOT):
        path = base / name
        try:
            if base == ROOT:
                (ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
            path.mkdir()
            if (path / LIMITS[controller][base == ROOT]).exists():
                return path
            path.rmdir()
        except OSError:
            continue
    return None


LIMITS = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max", "pids.max")}


def limit(path, controller, value):
    name = next(name for name in LIMITS[controller] if (path / name).exists())
    (path / name).write_text(str(value))


def put(path, *pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            (path / "cgroup.procs").write_text(str(pid))


def remove(prefix):
    """All whose names begin so; what was in them has ended."""
    for path in [*ROOT.glob(f"{prefix}*"), *ROOT.glob(f"*/{prefix}*")]:
        with contextlib.suppress(OSError):
            path.rmdir()
