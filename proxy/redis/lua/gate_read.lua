-- What is left of the hub's budget. The rules of admission.gate.Gate.standing. Times are seconds by this server's clock.
-- KEYS: gate, slots
-- ARGV: rate, burst, now ('': by the clock), s that a pause has left at the most,
--       s ahead for which turns are granted at the most
-- Returns: turns left, slots held, s left of the pause, its cause, strikes
local rate, burst, now = number(ARGV[1]), number(ARGV[2]), clock(ARGV[3])
local gate, slots = {}, 0
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  gate = redis.call('HMGET', KEYS[1], 'next', 'until', 'cause', 'strikes')
end
if redis.call('TYPE', KEYS[2]).ok == 'zset' then
  slots = redis.call('ZCOUNT', KEYS[2], '(' .. text(now), '+inf')
end
local next_at, till = number(gate[1]), number(gate[2])
if is_beyond(till, now + number(ARGV[4])) then
  till = 0
end
if is_beyond(next_at, now + 2 * burst / rate + number(ARGV[5])) then
  next_at = now + (burst - 1) / rate
end
local left = math.max(0, burst - math.max(0, next_at - now) * rate)
return {text(left), slots, text(math.max(0, till - now)), known_cause(gate[3]), whole(gate[4])}
