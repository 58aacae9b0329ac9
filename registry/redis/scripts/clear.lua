#!lua flags=allow-oom
-- At a clean end, or when the registry was away and nothing in it is true any more: removes all that one master's workers
-- left in a pool, and the pool when nobody else has workers there.
-- KEYS[1] pool:<name>:heartbeats
-- KEYS[2] pool:<name>:exited
-- ARGV    pool name, master id
-- returns "OK"
local pool, agents = ARGV[1], 'pool:' .. ARGV[1] .. ':agents'

local function clear(process_id)
  local key = 'process:' .. process_id
  local master_id = redis.call('HGET', key, 'master_id')
  if master_id and master_id ~= ARGV[2] then return end
  for _, agent_id in ipairs(redis.call('SMEMBERS', key .. ':agents')) do
    redis.call('DEL', 'agent:' .. agent_id)
    redis.call('SREM', agents, agent_id)
  end
  redis.call('DEL', key, key .. ':agents', key .. ':ended')
  redis.call('ZREM', KEYS[1], process_id)
  redis.call('ZREM', KEYS[2], process_id)
  redis.call('ZREM', 'pool:' .. pool .. ':processes', process_id)
end

for _, key in ipairs(KEYS) do
  for _, process_id in ipairs(redis.call('ZRANGE', key, 0, -1)) do clear(process_id) end
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', 'pool:' .. pool .. ':processes', agents)
  redis.call('SREM', 'pools', pool)
end
return 'OK'
