#!lua flags=allow-oom
-- A worker acknowledges starts and reports ends; each reply is published to its master.
-- KEYS[1] process:<id>
-- KEYS[2] process:<id>:ended
-- ARGV    process id, then per agent: id, epoch, "spawned" or "ended", master id, reply
-- returns "ENOENT" (register first), "ESTALE" (reaped), or per agent "OK" or "ESTALE" (fenced)
-- A start counts only where the registry placed this epoch. An end frees the slot and is kept in process:<id>:ended
-- (agent id:epoch -> reply) until sweep confirms it, also when nothing is recorded of the agent any more (FLUSHALL).
local process_id, time = ARGV[1], now()

local function report(agent_id, epoch, kind, master_id, reply)
  local placed = placement(agent_id)
  local here = placed and placed.process_id == process_id
  if placed and (placed.epoch > tonumber(epoch) or not here) then return 'ESTALE' end
  if kind == 'spawned' then
    if not placed or placed.epoch ~= tonumber(epoch) then return 'ESTALE' end
    if placed.status == 'starting' then
      redis.call('HSET', 'agent:' .. agent_id, 'status', 'idle', 'updated_at', time)
    end
  else
    redis.call('HSET', KEYS[2], agent_id .. ':' .. epoch, reply)
    if placed then forget(agent_id, placed) end
  end
  redis.call('PUBLISH', 'master:' .. master_id .. ':replies', reply)
  return 'OK'
end

local why = refused(process_id)
if why then return why end
local results = {}
for i = 2, #ARGV, 5 do
  results[#results + 1] = report(unpack(ARGV, i, i + 4))
end
return results
