"""The Lua scripts of the Redis cost store; each is one step that nobody comes between.

One hash holds everything that must vanish together:

    e, st, since, q   epoch; "ok" or "lost"; when it was lost (ms); a counter of changes
    r, b              run id of the server that the epoch belongs to; who rebuilds since when
    s:KEY, h:KEY      spent and held
    o:ID              an open hold: due (ms), epoch, owner, nano, tokens, requests, keys, details
    x:ID              the same, expired: behind "N" (no row in the ledger yet) or "C" (confirmed)
    c:ID              settled; forgotten after an hour

A sorted set beside it says what is due when. It is derived: if it is lost, `EXPIRE` makes it anew.
Amounts stay texts where they pass 10^15, which Lua's numbers do not hold exactly.
"""

from __future__ import annotations

#: Shared by all: KEYS[1] is the hash, KEYS[2] the set; ARGV[1] the time in ms or "", ARGV[2] a
#: fresh epoch, ARGV[3] the caller's epoch, ARGV[4] the highest counter it has seen.
_HEAD = """
local H, D = KEYS[1], KEYS[2]
local now = tonumber(ARGV[1])
if not now then
    local t = redis.call('TIME')
    now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local function text(n) return string.format('%.0f', n) end
local function minus(s)
    if s == '0' then return s end
    return string.sub(s, 1, 1) == '-' and string.sub(s, 2) or '-' .. s
end
local function run_id()
    return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
end
local function lose()
    redis.call('HSET', H, 'e', ARGV[2], 'st', 'lost', 'since', text(now), 'r', run_id())
    redis.call('HINCRBY', H, 'q', 1)
    redis.call('HDEL', H, 'b')
end
-- due, epoch, owner, nano, tokens, requests, keys, details of a record
local function parse(value)
    local f, at = {}, 1
    for i = 1, 7 do
        local stop = string.find(value, '\\n', at, true)
        f[i] = string.sub(value, at, stop - 1)
        at = stop + 1
    end
    return {due = f[1], epoch = f[2], usd = f[4], tokens = f[5], requests = f[6],
            keys = cjson.decode(f[7])}
end
"""

#: Runs on every new connection, which is new after every restart of the server. Returns the epoch.
ATTACH = (
    _HEAD
    + """
local known = redis.call('HMGET', H, 'e', 'r')
if not known[1] or known[2] ~= run_id() then lose() end
return redis.call('HGET', H, 'e')
"""
)

_CHECK = """
local function checked(m)
    if not m[1] or tonumber(m[3]) < tonumber(ARGV[4]) then
        lose()
        return {'lost', ARGV[2], text(now), text(now)}
    end
    if m[1] ~= ARGV[3] then return {'epoch', m[1]} end
end
"""

#: ARGV[5] id, [6] lease in ms, [7] record without its due, then key, limit, amount, end in ms.
RESERVE = (
    _HEAD
    + _CHECK
    + """
local id, count = ARGV[5], (#ARGV - 7) / 4
local wanted = {'e', 'st', 'q', 'since', 'o:' .. id, 'x:' .. id, 'c:' .. id}
for i = 0, count - 1 do
    wanted[8 + i * 2] = 's:' .. ARGV[8 + i * 4]
    wanted[9 + i * 2] = 'h:' .. ARGV[8 + i * 4]
end
local m = redis.call('HMGET', H, unpack(wanted))
local wrong = checked(m)
if wrong then return wrong end
if m[2] ~= 'ok' then return {'lost', m[1], m[4], text(now)} end
if m[5] or m[6] or m[7] then return {'in', m[3]} end
local due = text(now + tonumber(ARGV[6]))
local changed = {'o:' .. id, due .. '\\n' .. ARGV[7]}
local large = {}
for i = 0, count - 1 do
    local limit, amount = ARGV[9 + i * 4], ARGV[10 + i * 4]
    local spent, held = m[8 + i * 2] or '0', m[9 + i * 2] or '0'
    local field = 'h:' .. ARGV[8 + i * 4]
    if #spent < 16 and #held < 16 and #amount < 16 and #limit < 16 then
        local sum = held + amount
        if limit ~= '' and spent + sum > tonumber(limit) then return {'full', m[3], i} end
        changed[#changed + 1] = field
        changed[#changed + 1] = text(sum)
    else
        if limit ~= '' then
            redis.call('HSET', H, 'z', limit)
            for _, part in ipairs({spent, held, amount}) do
                if type(redis.pcall('HINCRBY', H, 'z', minus(part))) == 'table' then
                    return {'full', m[3], i}
                end
            end
            local room = redis.call('HGET', H, 'z')
            if string.sub(room, 1, 1) == '-' then return {'full', m[3], i} end
        end
        large[#large + 1] = {field, amount}
    end
end
for _, each in ipairs(large) do redis.call('HINCRBY', H, each[1], each[2]) end
local q = text(m[3] + 1)
changed[#changed + 1] = 'q'
changed[#changed + 1] = q
redis.call('HSET', H, unpack(changed))
redis.call('ZADD', D, due, 'o:' .. id)
for i = 0, count - 1 do
    if not m[8 + i * 2] and not m[9 + i * 2] and ARGV[11 + i * 4] ~= '' then
        redis.call('ZADD', D, ARGV[11 + i * 4], 'k:' .. ARGV[8 + i * 4])
    end
end
return {'in', q}
"""
)

#: ARGV[5] id, [6] to [8] nano, tokens, requests, [9] the caller's record, [10] its epoch.
SETTLE = (
    _HEAD
    + """
local id = ARGV[5]
local cost = {usd = ARGV[6], tokens = ARGV[7], requests = ARGV[8]}
local m = redis.call('HMGET', H, 'e', 'q', 'o:' .. id, 'x:' .. id, 'c:' .. id)
if not m[1] then lose() m[1] = ARGV[2] end
if m[5] then return {'no', m[1], m[2]} end
local kind, value = 'open', m[3]
if not value and m[4] then kind, value = 'expired', string.sub(m[4], 3) end
-- The store was lost under a call that never stood in the new one: it was spent nevertheless.
if not value and ARGV[9] ~= '' and ARGV[10] ~= m[1] then
    kind, value = 'unknown', '0\\n' .. ARGV[9]
end
if not value then return {'no', m[1], m[2]} end
local held = parse(value)
local names, fields = {}, {}
for _, each in ipairs(held.keys) do
    local key, unit = each[1], each[2]
    local s = 's:' .. key
    if kind ~= 'unknown' and redis.call('HEXISTS', H, 'h:' .. key) == 0 then
        s = nil  -- a period long over, whose totals are forgotten
    elseif kind == 'open' then
        redis.call('HINCRBY', H, 'h:' .. key, minus(held[unit]))
    elseif kind == 'expired' then
        redis.call('HINCRBY', H, s, minus(held[unit]))
    else
        redis.call('HINCRBY', H, 'h:' .. key, 0)
    end
    if s then redis.call('HINCRBY', H, s, cost[unit]) end
    names[#names + 1] = key
    fields[#fields + 1] = 's:' .. key
    fields[#fields + 1] = 'h:' .. key
end
redis.call('HDEL', H, 'o:' .. id, 'x:' .. id)
redis.call('HSET', H, 'c:' .. id, 1)
redis.call('ZREM', D, 'o:' .. id, 'x:' .. id, 'u:' .. id)
redis.call('ZADD', D, text(now + 3600000), 'c:' .. id)
local q = redis.call('HINCRBY', H, 'q', 1)
return {kind, m[1], text(q), names, redis.call('HMGET', H, unpack(fields))}
"""
)

#: ARGV[5] lease in ms, then id, record, the record's epoch. Returns the epoch.
RENEW = (
    _HEAD
    + """
local e = redis.call('HGET', H, 'e')
if not e then lose() e = ARGV[2] end
local due = text(now + tonumber(ARGV[5]))
for i = 6, #ARGV, 3 do
    local id, record = ARGV[i], ARGV[i + 1]
    local m = redis.call('HMGET', H, 'o:' .. id, 'x:' .. id, 'c:' .. id)
    local is_new = not m[1] and not m[2] and not m[3] and ARGV[i + 2] ~= e
    if is_new then
        local held = parse(due .. '\\n' .. record)
        for _, each in ipairs(held.keys) do
            redis.call('HINCRBY', H, 'h:' .. each[1], held[each[2]])
        end
    end
    if m[1] or is_new then
        -- An announced hold belongs to the present epoch.
        local stop = string.find(record, '\\n', 1, true)
        redis.call('HSET', H, 'o:' .. id, due .. '\\n' .. e .. string.sub(record, stop))
        redis.call('ZADD', D, due, 'o:' .. id)
    end
end
redis.call('HINCRBY', H, 'q', 1)
return e
"""
)

#: Returns how many were due, and (id, record, epoch) of the unconfirmed.
EXPIRE = (
    _HEAD
    + """
local known = redis.call('HMGET', H, 'e', 'st')
if known[2] ~= 'ok' then return {0, {}} end
if not redis.call('ZSCORE', D, 'e:' .. known[1]) then
    local all = redis.call('HGETALL', H)
    for i = 1, #all, 2 do
        local kind, id, value = string.sub(all[i], 1, 2), string.sub(all[i], 3), all[i + 1]
        if kind == 'o:' then redis.call('ZADD', D, parse(value).due, all[i])
        elseif kind == 'c:' then redis.call('ZADD', D, text(now + 3600000), all[i])
        elseif kind == 'x:' and string.sub(value, 1, 1) == 'N' then
            redis.call('ZADD', D, '8000000000000000', 'u:' .. id)
        end
    end
    redis.call('ZADD', D, '9000000000000000', 'e:' .. known[1])
end
local due = redis.call('ZRANGEBYSCORE', D, '-inf', text(now), 'LIMIT', 0, 100)
for _, member in ipairs(due) do
    local kind, id = string.sub(member, 1, 2), string.sub(member, 3)
    redis.call('ZREM', D, member)
    if kind == 'o:' then
        local value = redis.call('HGET', H, member)
        if value then
            local held = parse(value)
            for _, each in ipairs(held.keys) do
                redis.call('HINCRBY', H, 'h:' .. each[1], minus(held[each[2]]))
                redis.call('HINCRBY', H, 's:' .. each[1], held[each[2]])
            end
            redis.call('HDEL', H, member)
            redis.call('HSET', H, 'x:' .. id, 'N\\n' .. value)
            redis.call('ZADD', D, '8000000000000000', 'u:' .. id)
        end
    elseif kind == 'k:' then
        if tonumber(redis.call('HGET', H, 'h:' .. id) or '0') == 0 then
            redis.call('HDEL', H, 's:' .. id, 'h:' .. id)
        else
            redis.call('ZADD', D, text(now + 3600000), member)
        end
    else
        redis.call('HDEL', H, member)
    end
end
if #due > 0 then redis.call('HINCRBY', H, 'q', 1) end
local found = {}
local waiting = redis.call('ZRANGEBYSCORE', D, '8000000000000000', '8000000000000000',
                           'LIMIT', 0, 1000)
for _, member in ipairs(waiting) do
    local value = redis.call('HGET', H, 'x:' .. string.sub(member, 3))
    if value then
        found[#found + 1] = {string.sub(member, 3), string.sub(value, 3)}
    end
end
return {#due, found, known[1]}
"""
)

#: ARGV[5] and on: ids.
CONFIRM = (
    _HEAD
    + """
for i = 5, #ARGV do
    local value = redis.call('HGET', H, 'x:' .. ARGV[i])
    if value then
        redis.call('HSET', H, 'x:' .. ARGV[i], 'C' .. string.sub(value, 2))
        redis.call('ZADD', D, text(now + 2592000000), 'x:' .. ARGV[i])
    end
    redis.call('ZREM', D, 'u:' .. ARGV[i])
end
"""
)

#: ARGV[5] a token, [6] ms to wait after a loss.
BEGIN = (
    _HEAD
    + """
local m = redis.call('HMGET', H, 'st', 'since', 'b')
if not m[1] then lose() m = {'lost', text(now), false} end
if m[1] == 'ok' then return 'ok' end
if now < tonumber(m[2]) + tonumber(ARGV[6]) then return 'wait' end
if m[3] and now < tonumber(string.match(m[3], '%d+')) + 60000 then return 'busy' end
redis.call('HSET', H, 'b', text(now) .. ' ' .. ARGV[5])
for _, field in ipairs(redis.call('HKEYS', H)) do
    if string.sub(field, 1, 2) == 's:' then redis.call('HDEL', H, field) end
end
return 'go'
"""
)

#: ARGV[5] the token or "" for a store that was not lost, then key, amount to add.
FINISH = (
    _HEAD
    + """
local m = redis.call('HMGET', H, 'st', 'b')
local is_lost = ARGV[5] ~= ''
if is_lost then
    if m[1] ~= 'lost' or not m[2] or string.match(m[2], ' (.*)') ~= ARGV[5] then return 0 end
elseif m[1] ~= 'ok' then return 0 end
for i = 6, #ARGV, 2 do
    redis.call('HINCRBY', H, 's:' .. ARGV[i], ARGV[i + 1])
    redis.call('HINCRBY', H, 'h:' .. ARGV[i], 0)
end
if is_lost then
    local all = redis.call('HGETALL', H)
    for i = 1, #all, 2 do
        if string.sub(all[i], 1, 2) == 'h:' then redis.call('HSET', H, all[i], 0) end
    end
    for i = 1, #all, 2 do
        local kind, value, total = string.sub(all[i], 1, 2), all[i + 1], nil
        if kind == 'o:' then total = 'h:'
        elseif kind == 'x:' and string.sub(value, 1, 1) == 'N' then
            total, value = 's:', string.sub(value, 3)
        end
        if total then
            local held = parse(value)
            for _, each in ipairs(held.keys) do
                redis.call('HINCRBY', H, total .. each[1], held[each[2]])
            end
        end
    end
    redis.call('DEL', D)  -- made anew by the next expire
    redis.call('HSET', H, 'st', 'ok')
    redis.call('HDEL', H, 'b')
end
redis.call('HINCRBY', H, 'q', 1)
return 1
"""
)
