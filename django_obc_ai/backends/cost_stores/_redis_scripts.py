"""The Lua scripts of the Redis cost store; each is one step that nobody comes between.

One hash holds everything that must vanish together:

    e, st, since, q   epoch; "ok" or "lost"; when it was lost (ms); a counter of changes
    r, b              run id of the server that the epoch belongs to; who rebuilds since when
    v                 a name for the budgets as they are; a new one with each change of them
    c:KEY, s:KEY      committed, which is spent and held together; spent
    i:ID              a hold: its state, then for O, N and C due (ms), epoch, owner, nano, tokens,
                      requests, keys and details in lines. O is open; N expired, with no row in
                      the ledger yet; C expired with its row; S settled, forgotten after an hour

A sorted set beside it says what is due when. It is derived: if it is lost, `EXPIRE` makes it anew.
Amounts are texts that only HINCRBY adds, because Lua's numbers are exact up to 2^53 only.
"""

from __future__ import annotations

#: Shared by all: KEYS[1] is the hash, KEYS[2] the set; ARGV[1] the time in ms or "", [2] a fresh
#: epoch, [3] the caller's epoch, [4] the highest counter it has seen.
_HEAD = """
local H, D = KEYS[1], KEYS[2]
local fresh = ARGV[2]
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
    redis.call('HSET', H, 'e', fresh, 'st', 'lost', 'since', text(now), 'r', run_id())
    redis.call('HINCRBY', H, 'q', 1)
    redis.call('HDEL', H, 'b')
end
-- Takes a hold apart behind its state.
local function parse(value)
    local f, at = {}, 2
    for i = 1, 7 do
        local stop = string.find(value, '\\n', at, true)
        f[i] = string.sub(value, at, stop - 1)
        at = stop + 1
    end
    return {due = f[1], epoch = f[2], usd = f[4], tokens = f[5], requests = f[6],
            keys = cjson.decode(f[7])}
end
local function add(kind, held, key, amount)
    redis.call('HINCRBY', H, kind .. key[1], amount or held[key[2]])
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

#: Most calls run the upper part only, which therefore makes no function and no table of its own.
#: ARGV[5] lease in ms, [6] "i:" and the id, [7] the record, [8] the name of the budgets that the
#: caller has read or "*", [9] when each period ends in ms or "-"; then the fields c:KEY of all,
#: then what each may have committed before this call, then the amounts. Returns the counter if the
#: amount is held under every key. KEYS[3] and [4], if there are any, are hash and field of a permit
#: of the gates, which travels before: where it is not given, nothing is held.
RESERVE = (
    """
local hash, id, n = KEYS[1], ARGV[6], (#ARGV - 9) / 3
local m = redis.call('HMGET', hash, 'e', 'st', 'q', id, 'v', unpack(ARGV, 10, 9 + n))
if KEYS[3] and string.sub(redis.call('HGET', KEYS[3], KEYS[4]) or '', 1, 1) ~= 'O' then
    return {'permit'}
end
if m[1] == ARGV[3] and m[2] == 'ok' and tonumber(m[3]) >= tonumber(ARGV[4]) then
    if m[4] then return tonumber(m[3]) end
    if ARGV[8] ~= (m[5] or '') and ARGV[8] ~= '*' then return {'budgets', m[1], m[5] or ''} end
    local is_new
    for i = 1, n do
        local had, room = m[5 + i], ARGV[9 + n + i]
        if not had then had, is_new = '0', true end
        if #had > #room or #had == #room and had > room then return {'full', m[1], i - 1} end
    end
    for i = 1, n do redis.call('HINCRBY', hash, ARGV[9 + i], ARGV[9 + 2 * n + i]) end
    local due = tonumber(ARGV[1])
    if not due then
        local t = redis.call('TIME')
        due = t[1] * 1000 + math.floor(t[2] / 1000)
    end
    due = due + ARGV[5]
    local q = m[3] + 1
    redis.call('HSET', hash, 'q', q, id, 'O' .. due .. '\\n' .. ARGV[7])
    redis.call('ZADD', KEYS[2], due, id)
    if is_new then
        local i = 0
        for ends in string.gmatch(ARGV[9], '%S+') do
            i = i + 1
            if ends ~= '-' and not m[5 + i] then
                redis.call('ZADD', KEYS[2], ends, 'k:' .. string.sub(ARGV[9 + i], 3))
            end
        end
    end
    return q
end
"""
    + _HEAD
    + """
if not m[1] or tonumber(m[3]) < tonumber(ARGV[4]) then
    lose()
    return {'lost', fresh, text(now), text(now)}
end
if m[1] ~= ARGV[3] then return {'epoch', m[1]} end
return {'lost', m[1], redis.call('HGET', H, 'since'), text(now)}
"""
)

#: The fresh epoch is a name that the budgets have not had.
NOTE_BUDGETS = "redis.call('HSET', KEYS[1], 'v', ARGV[2])"

#: ARGV[5] the id, [6] to [8] nano, tokens, requests, [9] the caller's record, [10] its epoch; then
#: the fields c:KEY of all, by how much each changes, and what each has spent. Most calls run the
#: upper part only, see RESERVE; its answer leaves out the names, which the caller knows.
SETTLE = (
    """
local hash, id, n = KEYS[1], 'i:' .. ARGV[5], (#ARGV - 10) / 3
local m = n > 0 and redis.call('HMGET', hash, 'e', id, unpack(ARGV, 11, 10 + n)) or {}
local is_plain = m[1] and m[1] == ARGV[10] and m[2] and string.sub(m[2], 1, 1) == 'O'
for i = 1, n do is_plain = is_plain and m[2 + i] end
if is_plain then
    local fields = {}
    for i = 1, n do
        local key = string.sub(ARGV[10 + i], 3)
        fields[2 * i - 1], fields[2 * i] = 's:' .. key, 'c:' .. key
        redis.call('HINCRBY', hash, ARGV[10 + i], ARGV[10 + n + i])
        redis.call('HINCRBY', hash, 's:' .. key, ARGV[10 + 2 * n + i])
    end
    local now = tonumber(ARGV[1])
    if not now then
        local t = redis.call('TIME')
        now = t[1] * 1000 + math.floor(t[2] / 1000)
    end
    redis.call('HSET', hash, id, 'S')
    redis.call('ZADD', KEYS[2], now + 3600000, id)
    local q = redis.call('HINCRBY', hash, 'q', 1)
    return {'O', m[1], q, false, redis.call('HMGET', hash, unpack(fields))}
end
"""
    + _HEAD
    + """
local field = 'i:' .. ARGV[5]
local cost = {usd = ARGV[6], tokens = ARGV[7], requests = ARGV[8]}
local m = redis.call('HMGET', H, 'e', 'q', field)
if not m[1] then lose() m[1] = fresh end
local value = m[3] or ''
local state = string.sub(value, 1, 1)
-- The store was lost under a call that never stood in the new one: it was spent nevertheless.
if state == '' and ARGV[9] ~= '' and ARGV[10] ~= m[1] then
    state, value = 'unknown', ' 0\\n' .. ARGV[9]
end
if state == '' or state == 'S' then return {'no', m[1], m[2]} end
local held = parse(value)
local names, fields = {}, {}
for _, key in ipairs(held.keys) do
    -- A period long over, whose totals are forgotten, stays so.
    if state == 'unknown' or redis.call('HEXISTS', H, 'c:' .. key[1]) == 1 then
        if state ~= 'unknown' then add('c:', held, key, minus(held[key[2]])) end
        if state == 'N' or state == 'C' then add('s:', held, key, minus(held[key[2]])) end
        add('c:', cost, key)
        add('s:', cost, key)
    end
    names[#names + 1] = key[1]
    fields[#fields + 1] = 's:' .. key[1]
    fields[#fields + 1] = 'c:' .. key[1]
end
redis.call('HSET', H, field, 'S')
redis.call('ZADD', D, text(now + 3600000), field)
local q = redis.call('HINCRBY', H, 'q', 1)
return {state, m[1], text(q), names, redis.call('HMGET', H, unpack(fields))}
"""
)

#: ARGV[5] lease in ms, then id, record, the record's epoch. Returns the epoch.
RENEW = (
    _HEAD
    + """
local e = redis.call('HGET', H, 'e')
if not e then lose() e = fresh end
local due = text(now + tonumber(ARGV[5]))
for i = 6, #ARGV, 3 do
    local field, record = 'i:' .. ARGV[i], ARGV[i + 1]
    local value = redis.call('HGET', H, field)
    local is_new = not value and ARGV[i + 2] ~= e
    if is_new then
        local held = parse('O' .. due .. '\\n' .. record)
        for _, key in ipairs(held.keys) do add('c:', held, key) end
    end
    if is_new or value and string.sub(value, 1, 1) == 'O' then
        -- An announced hold belongs to the present epoch.
        local stop = string.find(record, '\\n', 1, true)
        redis.call('HSET', H, field, 'O' .. due .. '\\n' .. e .. string.sub(record, stop))
        redis.call('ZADD', D, due, field)
    end
end
redis.call('HINCRBY', H, 'q', 1)
return e
"""
)

#: Returns how many were due, (id, hold) of the unconfirmed, and the epoch.
EXPIRE = (
    _HEAD
    + """
local known = redis.call('HMGET', H, 'e', 'st')
if known[2] ~= 'ok' then return {0, {}, known[1]} end
local WAITING, NEVER = '8000000000000000', '9000000000000000'
local HOUR, MONTH = 3600000, 2592000000
if not redis.call('ZSCORE', D, 'e:' .. known[1]) then
    local all = redis.call('HGETALL', H)
    for i = 1, #all, 2 do
        if string.sub(all[i], 1, 2) == 'i:' then
            local state, score = string.sub(all[i + 1], 1, 1), nil
            if state == 'O' then score = parse(all[i + 1]).due
            elseif state == 'N' then score = WAITING
            else score = text(now + (state == 'C' and MONTH or HOUR)) end
            redis.call('ZADD', D, score, all[i])
        end
    end
    redis.call('ZADD', D, NEVER, 'e:' .. known[1])
end
local due = redis.call('ZRANGEBYSCORE', D, '-inf', text(now), 'LIMIT', 0, 100)
for _, member in ipairs(due) do
    redis.call('ZREM', D, member)
    local name = string.sub(member, 3)
    if string.sub(member, 1, 2) == 'k:' then
        local m = redis.call('HMGET', H, 's:' .. name, 'c:' .. name)
        if (m[1] or '0') == (m[2] or '0') then
            redis.call('HDEL', H, 's:' .. name, 'c:' .. name)
        else
            redis.call('ZADD', D, text(now + HOUR), member)
        end
    else
        local value = redis.call('HGET', H, member)
        if value and string.sub(value, 1, 1) == 'O' then
            local held = parse(value)
            for _, key in ipairs(held.keys) do add('s:', held, key) end
            redis.call('HSET', H, member, 'N' .. string.sub(value, 2))
            redis.call('ZADD', D, WAITING, member)
        else
            redis.call('HDEL', H, member)
        end
    end
end
if #due > 0 then redis.call('HINCRBY', H, 'q', 1) end
local found = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', D, WAITING, WAITING, 'LIMIT', 0, 1000)) do
    local value = redis.call('HGET', H, member)
    if value then found[#found + 1] = {string.sub(member, 3), value} end
end
return {#due, found, known[1]}
"""
)

#: ARGV[5] and on: ids.
CONFIRM = (
    _HEAD
    + """
for i = 5, #ARGV do
    local field = 'i:' .. ARGV[i]
    local value = redis.call('HGET', H, field)
    if value and string.sub(value, 1, 1) == 'N' then
        redis.call('HSET', H, field, 'C' .. string.sub(value, 2))
        redis.call('ZADD', D, text(now + 2592000000), field)
    end
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
    redis.call('HINCRBY', H, 'c:' .. ARGV[i], ARGV[i + 1])
end
if is_lost then
    local all = redis.call('HGETALL', H)
    for i = 1, #all, 2 do
        if string.sub(all[i], 1, 2) == 'c:' then
            local spent = redis.call('HGET', H, 's:' .. string.sub(all[i], 3))
            redis.call('HSET', H, all[i], spent or 0)
        end
    end
    for i = 1, #all, 2 do
        local state = string.sub(all[i + 1], 1, 1)
        if string.sub(all[i], 1, 2) == 'i:' and (state == 'O' or state == 'N') then
            local held = parse(all[i + 1])
            for _, key in ipairs(held.keys) do
                add('c:', held, key)
                if state == 'N' then add('s:', held, key) end
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
