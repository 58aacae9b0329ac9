#!lua
-- A worker registers, or registers again, with the agents it runs: in one call, or in parts when there are many.
-- KEYS[1] process:<id>
-- KEYS[2] pool:<name>:heartbeats
-- ARGV    process id, pool name, pid, host, master id, max_agents, started_at, version, "first", "next", "last" or "only" part,
--         then per agent: id, epoch, status, project_id, role_type, created_at, heartbeat_interval, max_idle_time, restarts,
--         command
-- returns "ESTALE" (reaped), "ENOENT" (the parts before are lost: begin again), or per agent "OK" or "ESTALE" (a higher epoch, or the same one elsewhere)
-- What the registry has placed here besides stays: the next heartbeat lists it, and the worker starts it or reports its
-- end; but for what has lost its record, or has it elsewhere. A draining worker stays draining; a new one is not offered
-- ("starting") before its last part. The first revision is the time in microseconds: it grows across a FLUSHALL.
local process_id, pool, time = ARGV[1], ARGV[2], now()
local begins, ends = ARGV[9] == 'first' or ARGV[9] == 'only', ARGV[9] == 'last' or ARGV[9] == 'only'

local function adopt(agent_id, epoch, status, fields)
  local placed = placement(agent_id)
  if placed and placed.epoch > tonumber(epoch) then return 'ESTALE' end
  if placed and placed.epoch == tonumber(epoch) then
    if placed.process_id ~= process_id then return 'ESTALE' end
    redis.call('SADD', 'process:' .. process_id .. ':agents', agent_id)
    redis.call('SADD', 'pool:' .. pool .. ':agents', agent_id)
    if placed.status ~= 'stopping' then -- a terminate that the worker has not seen yet
      redis.call('HSET', 'agent:' .. agent_id, 'status', status, 'updated_at', time)
    end
    return 'OK'
  end
  if placed then forget(agent_id, placed) end
  place(agent_id, epoch, process_id, pool, status, time, fields)
  return 'OK'
end

local why = refused(process_id)
if why == 'ESTALE' or why and not begins then return why end
if why == 'ENOENT' then redis.call('HSET', KEYS[1], 'status', 'starting', 'revision', time * 1000) end
if ends and redis.call('HGET', KEYS[1], 'status') == 'starting' then redis.call('HSET', KEYS[1], 'status', 'ready') end
redis.call('HSET', KEYS[1], 'pool_name', pool, 'pid', ARGV[3], 'host', ARGV[4], 'master_id', ARGV[5], 'max_agents', ARGV[6],
  'started_at', ARGV[7], 'version', ARGV[8], 'last_heartbeat', time)
redis.call('HSETNX', KEYS[1], 'rss_bytes', 0)
redis.call('HSETNX', KEYS[1], 'cpu_ms', 0)
redis.call('ZADD', KEYS[2], time, process_id)
redis.call('SADD', 'pools', pool)
for _, agent_id in ipairs(begins and redis.call('SMEMBERS', KEYS[1] .. ':agents') or {}) do
  local placed = placement(agent_id)
  if not placed or placed.process_id ~= process_id then redis.call('SREM', KEYS[1] .. ':agents', agent_id) end
end
local results = {}
for i = 10, #ARGV, 10 do
  results[#results + 1] = adopt(ARGV[i], ARGV[i + 1], ARGV[i + 2], { unpack(ARGV, i + 3, i + 9) })
end
settle(process_id)
return results
