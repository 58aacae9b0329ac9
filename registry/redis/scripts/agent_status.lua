#!lua flags=allow-oom
-- Writes what running agents do, for people to see; what is not placed here under this epoch, or is ending, is skipped.
-- ARGV    process id, then per agent: id, epoch, "idle" or "busy"
-- returns "OK"
local time = now()
for i = 2, #ARGV, 3 do
  local placed = placement(ARGV[i])
  if placed and placed.process_id == ARGV[1] and placed.epoch == tonumber(ARGV[i + 1]) and placed.status ~= 'stopping' then
    redis.call('HSET', 'agent:' .. ARGV[i], 'status', ARGV[i + 2], 'updated_at', time)
  end
end
return 'OK'
