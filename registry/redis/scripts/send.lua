#!lua flags=allow-oom
-- Records a command for a placed agent and its state, and publishes it to its worker: terminate, or the spawn again.
-- KEYS[1] agent:<id>
-- ARGV    agent id, epoch, pool name, status, command
-- returns "OK", "ENOENT" (not placed under this epoch) or "ESTALE" (a higher epoch is placed)
-- A repeat publishes again and changes nothing else.
local placed, epoch = placement(ARGV[1]), tonumber(ARGV[2])
if not placed or placed.epoch < epoch then return 'ENOENT' end
if placed.epoch > epoch then return 'ESTALE' end
if redis.call('HGET', KEYS[1], 'command') ~= ARGV[5] or placed.status ~= ARGV[4] then
  redis.call('HSET', KEYS[1], 'command', ARGV[5], 'status', ARGV[4], 'updated_at', now())
  settle(placed.process_id)
end
command(placed.process_id, ARGV[3], ARGV[5])
return 'OK'
