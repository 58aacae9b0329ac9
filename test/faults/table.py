"""The rows: number, title as MULTIPROCESSING.md has it, what runs it, the seconds it should need on two cores."""
import dataclasses
import typing

import rows_agents
import rows_clients
import rows_hostile
import rows_machine
import rows_master
import rows_points
import rows_redis
import rows_scale
import rows_store
import rows_workers


@dataclasses.dataclass(frozen=True)
class Row:
    number: int
    title: str
    run: typing.Callable
    budget: int
    needs_faults: bool = False  # the build with fault points
    needs_fuzzers: bool = False


ROWS = [
    Row(1, "worker killed", rows_workers.worker_killed, 20),
    Row(2, "worker frozen past its lease, then continued", rows_workers.worker_frozen, 45),
    Row(3, "worker's loop hung", rows_workers.worker_hung, 30, needs_faults=True),
    Row(4, "worker or agent dies at every start", rows_workers.start_fails, 30),
    Row(5, "agent or worker out of memory", rows_machine.out_of_memory, 40),
    Row(6, "fork fails", rows_machine.fork_fails, 40),
    Row(7, "master killed twenty times in a row under load", rows_master.master_killed, 45),
    Row(8, "second daemon on the same run_dir or address", rows_master.second_daemon, 10),
    Row(9, "forker killed", rows_master.forker_killed, 25),
    Row(10, "each fault point: kill, stop for 5 s, error", rows_points.each_point, 240, needs_faults=True),
    Row(11, "500 agents and 500 workers die at once", rows_workers.mass_death, 60),
    Row(12, "agent forks a daemon, then ends", rows_agents.forks_daemon, 15),
    Row(13, "agent floods stdout or stderr", rows_agents.floods, 25),
    Row(14, "agent stops reading", rows_agents.stops_reading, 20),
    Row(15, "agent writes a 64 MB line, NUL bytes, deep or broken JSON", rows_agents.writes_nonsense, 25),
    Row(16, "agent closes its pipes and lives; exits in the middle of a line", rows_agents.closes_pipes, 20),
    Row(17, "agent ignores TERM", rows_agents.ignores_term, 15),
    Row(18, "Redis killed, restarted empty, FLUSHALL", rows_redis.gone, 45),
    Row(19, "Redis hung", rows_redis.hung, 45),
    Row(20, "Redis black-holed; connection reset storm", rows_redis.cut_off, 60),
    Row(21, "Redis full", rows_redis.full, 30),
    Row(22, "Redis with an evicting policy", rows_redis.evicting_policy, 15),
    Row(23, "slow subscriber cut off by Redis", rows_redis.slow_subscriber, 30),
    Row(24, "commands and acknowledgements lost, doubled, late", rows_redis.messages_spoilt, 45),
    Row(25, "SQL server stopped, read-only, disk full, slow", rows_store.store_away, 60),
    Row(26, "commit done, its answer lost", rows_store.answer_lost, 30),
    Row(27, "slow header, slow body, idle and half-open connections", rows_clients.slow_clients, 25),
    Row(28, "out of file descriptors", rows_machine.no_descriptors, 40),
    Row(29, "wall clock jumps by an hour; whole machine paused for a minute", rows_machine.clock_jumps, 120),
    Row(30, "every Nth allocation fails", rows_points.allocations_fail, 60),
    Row(31, "100 reloads and 20 upgrades under load", rows_master.reloads_and_upgrades, 90),
    Row(32, "log's disk full", rows_machine.log_disk_full, 30),
    Row(33, "hostile HTTP, JSON, Redis replies, agent output, configuration", rows_hostile.hostile_input, 90, needs_fuzzers=True),
    Row(34, "very many agents: master, workers and Redis die at once", rows_scale.many_agents, rows_scale.budget()),
    Row(35, "second daemon on the same Redis or database", rows_master.second_daemon_of_servers, 60),
    Row(36, "rights to workers' keys taken away, a key of another type", rows_redis.rights_taken, 60),
    Row(37, "agents at work restarted, drained, rolled out, terminated", rows_agents.worked_on, 60),
]
