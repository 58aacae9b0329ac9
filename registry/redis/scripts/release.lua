#!lua flags=allow-oom
-- Frees the slot an agent may still hold and deletes its record.
-- KEYS[1] agent:<id>
-- KEYS[2] pool:<name>:agents
-- ARGV    agent id, epoch, process id ("": wherever it is)
-- returns "OK" (also when nothing is placed there) or "ESTALE" (a higher epoch is placed)
local placed = placement(ARGV[1])
if placed and placed.epoch > tonumber(ARGV[2]) then return 'ESTALE' end
if placed and (ARGV[3] == '' or placed.process_id == ARGV[3]) then forget(ARGV[1], placed) end
return 'OK'
