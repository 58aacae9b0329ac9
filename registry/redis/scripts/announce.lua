#!lua flags=allow-oom
-- A master says that it lives, or (time to live 0) that it ends. One daemon has the database: master:owner says which, and
-- its renewals grow. Another one gets it only when it names renewals that it saw stand still.
-- KEYS[1] master:<id>
-- KEYS[2] master:owner
-- ARGV    time to live in ms, host, pid, url, version, run_dir, master id, renewals of another owner that is dead, or ""
-- returns "OK", or what is known of the other daemon: { host, pid, run_dir, renewals }
local f = redis.call('HMGET', KEYS[2], 'master_id', 'host', 'pid', 'run_dir', 'renewals')
if ARGV[1] == '0' then
  redis.call('DEL', KEYS[1])
  if f[1] == ARGV[7] then redis.call('DEL', KEYS[2]) end
  return 'OK'
end
local own = not f[1] or (f[1] == ARGV[7] and f[2] == ARGV[2] and f[4] == ARGV[6])
if not own and f[5] ~= ARGV[8] then return { f[2], f[3], f[4], f[5] } end
redis.call('HSET', KEYS[1], 'host', ARGV[2], 'pid', ARGV[3], 'url', ARGV[4], 'version', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], 'master_id', ARGV[7], 'host', ARGV[2], 'pid', ARGV[3], 'url', ARGV[4], 'run_dir', ARGV[6])
redis.call('HINCRBY', KEYS[2], 'renewals', 1)
return 'OK'
