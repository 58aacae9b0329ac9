#!lua flags=allow-oom
-- A worker is certainly gone: takes it and its agents out of the registry.
-- KEYS[1] process:<id>
-- ARGV    process id, pool name, master id
-- returns "OK"
-- process:<id> stays for an hour as a tombstone (status exited) that refuses what the worker wrote last and Redis had not
-- read yet; pool:<name>:exited names the tombstones, for clear. Also for a worker that never registered, or was reaped.
local process_id, pool, time, keep = ARGV[1], ARGV[2], now(), 3600000
for _, agent_id in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':agents')) do
  local placed = placement(agent_id)
  if placed and placed.process_id == process_id then
    redis.call('SREM', 'pool:' .. placed.pool_name .. ':agents', agent_id)
    redis.call('DEL', 'agent:' .. agent_id)
  end
end
redis.call('DEL', KEYS[1] .. ':agents', KEYS[1] .. ':ended')
redis.call('ZREM', 'pool:' .. pool .. ':processes', process_id)
redis.call('ZREM', 'pool:' .. pool .. ':heartbeats', process_id)
redis.call('ZREMRANGEBYSCORE', 'pool:' .. pool .. ':exited', '-inf', time - keep)
redis.call('ZADD', 'pool:' .. pool .. ':exited', time, process_id)
redis.call('HSET', KEYS[1], 'status', 'exited', 'pool_name', pool, 'master_id', ARGV[3], 'agent_count', 0)
redis.call('PEXPIRE', KEYS[1], keep)
return 'OK'
