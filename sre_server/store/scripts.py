"""What Redis does in one step, for a watcher: each checks that nobody else has begun to publish since.

KEYS: head, log, chunks. Whoever claims the log gets an epoch that is higher than every earlier one, also after all was
lost, as it is at least the time of day. Lua's numbers hold integers up to 2**53. What makes no sense there is as good
as lost: whoever claims the log next begins anew.
"""

from typing import Final

CLAIM: Final = """
local found = redis.pcall('HGET', KEYS[1], 'epoch')
if type(found) == 'table' then redis.call('DEL', KEYS[1]) end
local last = tonumber(type(found) == 'string' and found or '0')
if not (last and last < 2^53) then last = 0 end
local epoch = string.format('%.0f', math.max(last + 1, tonumber(ARGV[1])))
redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', '0')
return epoch
"""
"""ARGV: microseconds since 1970. Returns the epoch that is the caller's from now on."""

_FENCE: Final = """
local now = redis.pcall('HMGET', KEYS[1], 'epoch', 'seq')
if now.err or not now[1] then return 'LOST' end
if now[1] ~= ARGV[1] then return 'FENCED' end
"""

OPEN: Final = (
    _FENCE
    + """
redis.call('HDEL', KEYS[1], 'body')
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[i - 1]) end
return 'OK'
"""
)
"""ARGV: epoch, a body for each chunk. Begins a log anew, which nobody can load before its first entry."""

APPEND: Final = (
    _FENCE
    + """
if now[2] ~= ARGV[2] then return 'MOVED' end
local added = redis.pcall('XADD', KEYS[2], ARGV[1] .. '-' .. ARGV[3], 'r', ARGV[4])
if type(added) == 'table' and added.err then
    for _, lost in ipairs({'equal or smaller', 'exhausted', 'WRONGTYPE'}) do
        if string.find(added.err, lost) then return 'LOST' end
    end
    return added
end
redis.call('HSET', KEYS[1], 'seq', ARGV[3], 'body', ARGV[5])
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[6])
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 4]) end
return 'OK'
"""
)
"""ARGV: epoch, number of the entry before, number, entry, head, the oldest id to keep, a body for each chunk.

A later id than ours, or no log at all, can only stand there if somebody else wrote it: then the log is as good as lost.
"""
