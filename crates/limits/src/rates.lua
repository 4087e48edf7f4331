-- Takes what one process used of a tenant's rates out of the pool that all processes share.
--
-- KEYS: the tenant's hash. ARGV: this process's name, how long a process counts after its last exchange (ms), then for
-- bytes and for items: tokens a second (0 without a limit), tokens at most, tokens used.
-- Returns what is left of bytes and of items, which may be less than nothing, and the number of processes.
-- Time is that of Redis, so clocks of the processes need not agree.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], 'p:' .. ARGV[1], now + tonumber(ARGV[2]))
local state, processes = {}, 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local field, value = fields[i], fields[i + 1]
  if string.sub(field, 1, 2) ~= 'p:' then
    state[field] = tonumber(value)
  elseif tonumber(value) >= now then
    processes = processes + 1
  else
    redis.call('HDEL', KEYS[1], field)
  end
end
local elapsed = math.max(0, now - (state.at or now)) / 1000
local left = {}
for i, field in ipairs({ 'bytes', 'items' }) do
  local rate, most, used = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local pool = math.min((state[field] or most) + rate * elapsed, most) - used
  left[i] = string.format('%.3f', pool)
end
redis.call('HSET', KEYS[1], 'at', now, 'bytes', left[1], 'items', left[2])
-- A tenant silent for a day has paid any debt worth remembering.
redis.call('PEXPIRE', KEYS[1], 86400000)
return { left[1], left[2], tostring(processes) }
