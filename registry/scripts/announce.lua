#!lua flags=allow-oom
-- A master says that it lives, or (time to live 0) that it ends.
-- KEYS[1] master:<id>
-- ARGV    time to live in ms, host, pid, url, version
-- returns "OK"
redis.call('HSET', KEYS[1], 'host', ARGV[2], 'pid', ARGV[3], 'url', ARGV[4], 'version', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 'OK'
