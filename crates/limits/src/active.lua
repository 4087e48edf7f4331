-- Counts the distinct things (series, attribute keys) that all processes use for a tenant.
--
-- KEYS: the younger set, the older set, when the younger began. ARGV: a period (ms), how many things this process
-- used, those, then things that it refused and asks about.
-- Returns the number of things in use and, for each asked about, 1 if it is one of them.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local period, used = tonumber(ARGV[1]), tonumber(ARGV[2])
local began = math.min(tonumber(redis.call('GET', KEYS[3]) or now), now)
if now - began >= 2 * period then
  redis.call('DEL', KEYS[1], KEYS[2])
  began = now
elseif now - began >= period then
  redis.call('DEL', KEYS[2])
  if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end
  began = now
end
for i = 3, 2 + used do
  if redis.call('SMOVE', KEYS[2], KEYS[1], ARGV[i]) == 0 then redis.call('SADD', KEYS[1], ARGV[i]) end
end
local known = {}
for i = 3 + used, #ARGV do
  known[i - 2 - used] = math.max(redis.call('SISMEMBER', KEYS[1], ARGV[i]), redis.call('SISMEMBER', KEYS[2], ARGV[i]))
end
redis.call('SET', KEYS[3], began, 'PX', 2 * period)
redis.call('PEXPIRE', KEYS[1], 2 * period)
redis.call('PEXPIRE', KEYS[2], 2 * period)
return { redis.call('SCARD', KEYS[1]) + redis.call('SCARD', KEYS[2]), unpack(known) }
