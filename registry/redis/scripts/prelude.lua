-- Put in front of every script (registry/redis/scripts.c). Keys beside KEYS are derived from ids that the data names (an agent's
-- old process, a chosen worker), so all of a pool's keys live on one Redis: no cluster. Times are ms of Redis' own clock.

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Where an agent is placed: { epoch = number, process_id =, pool_name =, status = }, or nil.
local function placement(agent_id)
  local f = redis.call('HMGET', 'agent:' .. agent_id, 'epoch', 'process_id', 'pool_name', 'status')
  if not f[1] or not f[2] or not f[3] then return nil end
  return { epoch = tonumber(f[1]), process_id = f[2], pool_name = f[3], status = f[4] }
end

-- nil when the process may write; else why not: unknown ("ENOENT": register first) or reaped ("ESTALE").
local function refused(process_id)
  local status = redis.call('HGET', 'process:' .. process_id, 'status')
  if not status then return 'ENOENT' end
  if status == 'exited' then return 'ESTALE' end
  return nil
end

-- Capacity is derived from ownership, never counted: free slots = max_agents - agents placed there. Only ready workers
-- are offered.
local function offer(process_id)
  local key = 'process:' .. process_id
  local f = redis.call('HMGET', key, 'status', 'max_agents', 'pool_name')
  if not f[1] or not f[2] or not f[3] then return end
  local count = redis.call('SCARD', key .. ':agents')
  redis.call('HSET', key, 'agent_count', count)
  if f[1] == 'ready' then
    redis.call('ZADD', 'pool:' .. f[3] .. ':processes', f[2] - count, process_id)
  else
    redis.call('ZREM', 'pool:' .. f[3] .. ':processes', process_id)
  end
end

-- After every change of what is placed at a process: its next heartbeat gets the list (see heartbeat.lua).
local function settle(process_id)
  if redis.call('EXISTS', 'process:' .. process_id) == 1 then
    redis.call('HINCRBY', 'process:' .. process_id, 'revision', 1)
    offer(process_id)
  end
end

-- Takes an agent out of its place and deletes its record.
local function forget(agent_id, placed)
  redis.call('SREM', 'process:' .. placed.process_id .. ':agents', agent_id)
  redis.call('SREM', 'pool:' .. placed.pool_name .. ':agents', agent_id)
  redis.call('DEL', 'agent:' .. agent_id)
  settle(placed.process_id)
end

-- Writes an agent's record and place; the caller settles. fields: project_id, role_type, created_at,
-- heartbeat_interval, max_idle_time, restarts, command.
local function place(agent_id, epoch, process_id, pool, status, time, fields)
  redis.call('SADD', 'process:' .. process_id .. ':agents', agent_id)
  redis.call('SADD', 'pool:' .. pool .. ':agents', agent_id)
  redis.call('HSET', 'agent:' .. agent_id, 'process_id', process_id, 'pool_name', pool, 'status', status, 'epoch', epoch,
    'updated_at', time, 'project_id', fields[1], 'role_type', fields[2], 'created_at', fields[3],
    'heartbeat_interval', fields[4], 'max_idle_time', fields[5], 'restarts', fields[6], 'command', fields[7])
end

-- To the worker, with a copy for people to watch.
local function command(process_id, pool, text)
  redis.call('PUBLISH', 'process:' .. process_id .. ':commands', text)
  redis.call('PUBLISH', 'pool:' .. pool .. ':commands', text)
end
