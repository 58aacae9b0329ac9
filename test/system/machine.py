"""A machine of its own for the tests of the installed service: a real systemd as process 1 in namespaces and a root directory
that are the test's, over a read-only look at the programs of this machine. Nothing of it outlives the test."""
import os
import pathlib
import shutil
import subprocess

from daemon import PATIENCE, wait_for

# Run as process 1 of the new namespaces: makes the root directory, and becomes systemd in it.
BOOT = r"""
set -eu
root=$1/root
mount --make-rprivate /
mkdir -p "$root"
mount -t tmpfs -o mode=755 tmpfs "$root"
mkdir -p "$root"/{usr,etc/systemd/system,var/lib/dpkg,var/log,var/tmp,run,proc,sys,dev,tmp,old,.over/usr,.over/usr.work,.over/dpkg,.over/dpkg.work}
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$root/.over/usr,workdir=$root/.over/usr.work" "$root/usr"
mount -t overlay overlay -o "lowerdir=/var/lib/dpkg,upperdir=$root/.over/dpkg,workdir=$root/.over/dpkg.work" "$root/var/lib/dpkg"
rm -f "$root/usr/sbin/policy-rc.d"
: >"$root/var/lib/dpkg/statoverride" # names users that are not here
mount -t proc proc "$root/proc"
for path in "$root/proc/sys" "$root/proc/sysrq-trigger"; do
        if [ -e "$path" ]; then mount --bind "$path" "$path"; mount -o remount,bind,ro "$path"; fi
done
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
chmod 1777 "$root/tmp" "$root/var/tmp"
cp -a /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/nsswitch.conf /etc/alternatives /etc/debian_version /etc/dpkg /etc/manpath.config "$root/etc/"
echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
echo root:x:0: >"$root/etc/group"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
# What touches the kernel that is shared with this machine is not for here.
for unit in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-binfmt systemd-random-seed systemd-udevd systemd-udev-trigger \
        systemd-hwdb-update systemd-pstore kmod-static-nodes systemd-networkd systemd-resolved systemd-timesyncd systemd-logind; do
        ln -s /dev/null "$root/etc/systemd/system/$unit.service"
done
for unit in sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount dev-hugepages.mount dev-mqueue.mount \
        sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount network-online.target redis-server.service postgresql.service; do
        ln -s /dev/null "$root/etc/systemd/system/$unit"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$root/etc/systemd/system/default.target"
mkdir "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$root/etc/systemd/journald.conf.d/test.conf"
ip link set lo up
cd "$root"
pivot_root . old
umount -l /old
exec setpriv --bounding-set -sys_module,-sys_time,-sys_boot,-sys_rawio,-mknod,-syslog,-mac_admin,-mac_override \
        env -i container=test PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd --system --log-target=journal --show-status=no
"""


def why_not():
    """Why no such machine can run here; None when it can."""
    if os.geteuid() != 0:
        return "takes root"
    if not cgroup_root():
        return "no cgroup2 is mounted"
    if not pathlib.Path("/usr/lib/systemd/systemd").exists():
        return "no systemd is installed: scripts/install-deps --test"
    return None


def cgroup_root():
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(where)
    return None


class Machine:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.cgroup = cgroup_root() / f"agentpool-test-{os.getpid()}"
        self.process = self.pid = None

    def boot(self):
        self.cgroup.mkdir()
        script = (f'echo $$ >{self.cgroup}/cgroup.procs; exec unshare --cgroup --mount --pid --uts --ipc --net --fork '
                  f'--kill-child bash -c "$1" boot "$2"')
        with open(self.directory / "boot.log", "wb") as log:
            self.process = subprocess.Popen(["bash", "-c", script, "start", BOOT, self.directory], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        wait_for(lambda: self.has_systemd() and self.run("systemctl", "is-system-running", check=False) == "running",
                 f"systemd to run: {self.boot_log()}")

    def boot_log(self):
        return (self.directory / "boot.log").read_text(errors="replace")

    def has_systemd(self):
        assert self.process.poll() is None, f"no systemd: {self.boot_log()}"
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not children or pathlib.Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return False
        self.pid = int(children[0])
        return True

    def call(self, *argv, **arguments):
        """The completed process of a command in the machine."""
        inside = ["nsenter", "-t", self.pid, "-m", "-p", "-u", "-i", "-n", "-C", "--root", "--wd=/", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                  "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"]
        return subprocess.run([*map(str, inside), *map(str, argv)], capture_output=True, text=True, timeout=4 * PATIENCE, **arguments)

    def run(self, *argv, check=True, **arguments):
        """What a command in the machine prints."""
        done = self.call(*argv, **arguments)
        assert not check or done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def path(self, name):
        """A file of the machine, as this process sees it."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(name).lstrip("/")

    def show(self, *properties, unit="agentpoold.service"):
        lines = self.run("systemctl", "show", unit, "-p", ",".join(properties)).splitlines()
        found = dict(line.split("=", 1) for line in lines)
        return found[properties[0]] if len(properties) == 1 else [found[name] for name in properties]

    def journal(self, unit="agentpoold.service"):
        return self.run("journalctl", "-o", "short-monotonic", "-u", unit, "--no-hostname")

    def halt(self):
        """Ends everything; asserts that nothing is left."""
        if self.process:
            self.process.kill()  # and with it process 1, and with that all others
            self.process.wait()
        wait_for(lambda: "populated 0" in (self.cgroup / "cgroup.events").read_text(), "the machine's processes to end")
        for path in sorted((path for path in self.cgroup.rglob("*") if path.is_dir()), reverse=True):
            path.rmdir()
        self.cgroup.rmdir()
        shutil.rmtree(self.directory / "root", ignore_errors=True)
