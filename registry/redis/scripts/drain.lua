#!lua flags=allow-oom
-- A worker takes no new agents ("draining"), or takes them again ("ready").
-- KEYS[1] process:<id>
-- ARGV    process id, "draining" or "ready"
-- returns "OK", "ENOENT" (not registered) or "ESTALE" (reaped)
local why = refused(ARGV[1])
if why then return why end
redis.call('HSET', KEYS[1], 'status', ARGV[2])
offer(ARGV[1])
return 'OK'
