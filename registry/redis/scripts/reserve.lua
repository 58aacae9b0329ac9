#!lua
-- Chooses a worker for each agent, takes the slot, writes agent:<id>, publishes the spawn command.
-- KEYS[1] pool:<name>:processes
-- ARGV    pool name, "pack" (fullest worker with room) or "spread" (emptiest), then per agent: id, epoch, project_id,
--         role_type, created_at, heartbeat_interval, max_idle_time, restarts, command
-- returns per agent the process id, "ENOSPC" (no slot) or "ESTALE" (a higher epoch is placed)
-- An older epoch's place is given up first, whatever comes of the new one. The same epoch again: the same place, and the
-- recorded command is published again. Ties go to the lowest process id (pack) or the highest (spread).
local pool, spread, time = ARGV[1], ARGV[2] == 'spread', now()

local function choose()
  while true do
    local found
    if spread then
      found = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', 1, 'LIMIT', 0, 1)[1]
    else
      found = redis.call('ZRANGEBYSCORE', KEYS[1], 1, '+inf', 'LIMIT', 0, 1)[1]
    end
    if not found or redis.call('HGET', 'process:' .. found, 'status') == 'ready' then return found end
    redis.call('ZREM', KEYS[1], found) -- somebody deleted its record
  end
end

local function reserve(agent_id, epoch, fields)
  local placed = placement(agent_id)
  if placed and placed.epoch > tonumber(epoch) then return 'ESTALE' end
  if placed and placed.epoch == tonumber(epoch)
    and redis.call('SISMEMBER', 'process:' .. placed.process_id .. ':agents', agent_id) == 1 then
    command(placed.process_id, pool, redis.call('HGET', 'agent:' .. agent_id, 'command') or fields[7])
    return placed.process_id
  end
  if placed then forget(agent_id, placed) end
  local process_id = choose()
  if not process_id then return 'ENOSPC' end
  place(agent_id, epoch, process_id, pool, 'starting', time, fields)
  settle(process_id)
  command(process_id, pool, fields[7])
  return process_id
end

local results = {}
for i = 3, #ARGV, 9 do
  results[#results + 1] = reserve(ARGV[i], ARGV[i + 1], { unpack(ARGV, i + 2, i + 8) })
end
return results
