-- May the hub be asked? The rules of gate.Gate.admit. Times are seconds by this server's clock.
-- KEYS: gate (a hash), slots (a sorted set of tickets by the end of their slots)
-- ARGV: ticket, rate, burst, concurrency, patience, paid (0 or 1), slot in s, s to turn others away for while a
--       probe is under way, ms for which all this is kept, now ('': by the clock),
--       then of a pause that others may not know of: s left, cause, strikes (0: there is none)
-- Returns: turn | the reason for a refusal, wait in s, epoch, strikes
local function number(text) return tonumber(text) or 0 end
local function text(value) return string.format('%.17g', value) end
local ticket, rate, burst, concurrency = ARGV[1], number(ARGV[2]), number(ARGV[3]), number(ARGV[4])
local patience, paid, slot = number(ARGV[5]), ARGV[6] == '1', number(ARGV[7])
local now = tonumber(ARGV[10])
if not now then
  local time = redis.call('TIME')
  now = number(time[1]) + number(time[2]) / 1e6
end
for index, kind in ipairs({'hash', 'zset'}) do
  if redis.call('TYPE', KEYS[index]).ok ~= kind then
    redis.call('DEL', KEYS[index]) -- nothing, or something that is no gate
  end
end
local gate = redis.call('HMGET', KEYS[1], 'next', 'until', 'cause', 'strikes', 'epoch', 'probe')
local next_at, till, cause = number(gate[1]), number(gate[2]), gate[3] or 'failing'
local strikes, epoch, probe = number(gate[4]), number(gate[5]), gate[6] or ''

local untold, told_until = number(ARGV[13]), now + number(ARGV[11])
if untold > 0 and told_until > till then
  till, cause, strikes, epoch, probe = told_until, ARGV[12], math.max(strikes, untold), epoch + 1, ''
  redis.call('HSET', KEYS[1], 'until', text(till), 'cause', cause, 'strikes', strikes, 'epoch', epoch, 'probe', '')
end

local function answer(what, wait) return {what, text(wait), epoch, strikes} end
if now < till then
  return answer(cause, till - now)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', text(now))
if strikes > 0 and probe ~= ticket and redis.call('ZSCORE', KEYS[2], probe) then
  return answer(cause, number(ARGV[8]))
end
if not redis.call('ZSCORE', KEYS[2], ticket) and redis.call('ZCARD', KEYS[2]) >= concurrency then
  redis.call('HSET', KEYS[1], 'crowded', text(now + 1)) -- whoever leaves tells of the room
  return answer('concurrency', 0)
end
local wait = 0
if not paid then
  wait = math.max(0, next_at - (burst - 1) / rate - now)
  if wait > patience then
    return answer('rate', wait)
  end
  redis.call('HSET', KEYS[1], 'next', text(math.max(next_at, now) + 1 / rate))
end
if wait == 0 then
  redis.call('ZADD', KEYS[2], text(now + slot), ticket)
  if strikes > 0 then
    redis.call('HSET', KEYS[1], 'probe', ticket)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[9])
redis.call('PEXPIRE', KEYS[2], ARGV[9])
return answer('turn', wait)
