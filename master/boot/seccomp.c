#include "master/boot/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0 /* none: no filter is installed */
#endif
#define X32_BIT 0x40000000U /* numbers of x86-64's other calling convention begin here; nobody uses it */
#define CALLS_MAX 64

/* The leak checker of AddressSanitizer looks at its own process with ptrace. */
#if defined(__SANITIZE_ADDRESS__)
#define PTRACE_OR(other) other
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PTRACE_OR(other) other
#endif
#endif
#ifndef PTRACE_OR
#define PTRACE_OR(other) SYS_ptrace
#endif

static const uint32_t everywhere[] = {
        SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct,
        SYS_settimeofday, SYS_clock_settime, SYS_syslog, SYS_quotactl, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd,
        SYS_add_key, SYS_request_key, SYS_keyctl, SYS_open_by_handle_at, SYS_lookup_dcookie, SYS_nfsservctl, SYS_vhangup,
        SYS_sethostname, SYS_setdomainname,
#ifdef SYS_kexec_file_load
        SYS_kexec_file_load,
#endif
#ifdef SYS_iopl
        SYS_iopl, SYS_ioperm,
#endif
};

static const uint32_t master_only[] = {
        SYS_execve, SYS_execveat, PTRACE_OR(SYS_execve), SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp,
        SYS_pidfd_getfd, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_move_mount, SYS_open_tree, SYS_fsopen,
        SYS_fsmount, SYS_fsconfig, SYS_fspick, SYS_unshare, SYS_setns, SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid,
        SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups, SYS_capset, SYS_mknodat, SYS_personality,
#ifdef SYS_mount_setattr
        SYS_mount_setattr,
#endif
};

/* A program of either word size that an agent runs may use another calling convention: of that, other is decided. */
static int install(const uint32_t *calls, unsigned count, uint32_t other)
{
        struct sock_filter code[CALLS_MAX + 8];
        struct sock_fprog program = { .filter = code };
        unsigned n = 0;

        if (!ARCH)
                return 0;
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, other);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, (uint8_t)(count + 1), 0);
        for (unsigned i = 0; i < count; i++)
                code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], (uint8_t)(count - i), 0);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
        program.len = (unsigned short)n;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? -errno : 0;
}

#define COUNT(calls) (sizeof(calls) / sizeof *(calls))
_Static_assert(COUNT(everywhere) <= CALLS_MAX && COUNT(master_only) <= CALLS_MAX, "the calls fit the program");

int seccomp_everywhere(void)
{
        return install(everywhere, COUNT(everywhere), SECCOMP_RET_ALLOW);
}

int seccomp_master(void)
{
        return install(master_only, COUNT(master_only), SECCOMP_RET_ERRNO | EPERM);
}
