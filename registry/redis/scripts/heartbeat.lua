#!lua flags=allow-oom
-- A worker says that it lives, and learns what should run there when that changed since the revision it has seen.
-- KEYS[1] process:<id>
-- ARGV    process id, revision, rss_bytes, cpu_ms
-- returns "ENOENT" (register first), "ESTALE" (reaped: end everything), or { revision } when that is the one it has seen,
--         else { revision, "changed", agent id, epoch, command, agent id, epoch, command, ... }; epoch 0: somebody deleted
--         that agent's record (register again, to write it); no
--         command of what the worker has said it runs
local process_id, time = ARGV[1], now()
local why = refused(process_id)
if why then return why end
local f = redis.call('HMGET', KEYS[1], 'pool_name', 'revision')
redis.call('HSET', KEYS[1], 'last_heartbeat', time, 'rss_bytes', ARGV[3], 'cpu_ms', ARGV[4])
redis.call('ZADD', 'pool:' .. f[1] .. ':heartbeats', time, process_id)
offer(process_id) -- heals a pool set that somebody deleted
local revision = tonumber(f[2])
if revision == tonumber(ARGV[2]) then return { revision } end
local list = { revision, 'changed' }
for _, agent_id in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':agents')) do
  local agent = redis.call('HMGET', 'agent:' .. agent_id, 'epoch', 'status', 'process_id')
  if not agent[1] or agent[3] == process_id then
    list[#list + 1] = agent_id
    list[#list + 1] = agent[1] or '0'
    list[#list + 1] = agent[2] ~= 'idle' and agent[2] ~= 'busy' and redis.call('HGET', 'agent:' .. agent_id, 'command') or ''
  end
end
return list
