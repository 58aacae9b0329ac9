#!lua flags=allow-oom
-- Forgets the ends that the master has handled, then tells of each registered worker how long it is silent and which ends
-- are not handled yet.
-- KEYS[1] pool:<name>:heartbeats
-- KEYS[2] pool:<name>:processes
-- ARGV    per handled end: process id, agent id, epoch
-- returns per worker { process id, master id, ms since its heartbeat, agent_count, rss_bytes, cpu_ms, heartbeat,
--         reply, ... }
for i = 1, #ARGV, 3 do
  redis.call('HDEL', 'process:' .. ARGV[i] .. ':ended', ARGV[i + 1] .. ':' .. ARGV[i + 2])
end
local time, rows = now(), {}
local beats = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #beats, 2 do
  local key = 'process:' .. beats[i]
  local f = redis.call('HMGET', key, 'master_id', 'agent_count', 'rss_bytes', 'cpu_ms')
  if f[1] then
    local row = { beats[i], f[1], math.max(0, time - beats[i + 1]), f[2] or '0', f[3] or '0', f[4] or '0', beats[i + 1] }
    for _, reply in ipairs(redis.call('HVALS', key .. ':ended')) do row[#row + 1] = reply end
    rows[#rows + 1] = row
  else -- somebody deleted its record: it registers again at its next heartbeat
    redis.call('ZREM', KEYS[1], beats[i])
    redis.call('ZREM', KEYS[2], beats[i])
  end
end
return rows
