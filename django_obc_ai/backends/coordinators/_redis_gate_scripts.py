"""The Lua scripts of the gates in Redis: `_gate_rules`, where every count is kept ready.

A gate is a hash and three sorted sets.

    n, t, f     what counts: requests and tokens; those of it that are under way
    g, e        under way since the gate closed last; how often it has closed
    d, y        when the day began; its requests
    l, c, k, s  level of reopening; closed until; why; closings since it was open
    b           failures since the last success
    q, o        waiters; the place that the next one takes
    x           until when nothing need be tidied up
    p:ID        a permit: "O", epoch, moment given, tokens: under way. "R", tokens: released.
                "W", tokens: waits. "X": its end was told although it does not count

The sets hold ids: D of what counts, by until when; Q of waiters, by place; L of waiters, by when
they lose it, and of "X", by when they are forgotten. If Redis evicts a part, counts begin anew.
KEYS: the hash, D, Q, L. ARGV: [1] the moment in ms, rounded down, or "" for the server's, [2] the
same rounded up, then `Terms`: [3] requests, [4] tokens, [5] window, [6] per day, [7] when the day
starts and [8] ends, [9] failures, [10] ms to be open; then [11] the permit.
"""

from __future__ import annotations

_HEAD = """
local H, D, Q, L = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, ended = tonumber(ARGV[1]), tonumber(ARGV[2])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000
    ended = now + math.ceil(time[2] / 1000)
    now = now + math.floor(time[2] / 1000)
end
"""

#: What the fast paths do not need.
_TOOLS = """
local NAMES = {'n', 't', 'f', 'g', 'e', 'd', 'y', 'l', 'c', 's', 'b', 'q', 'o', 'x'}
local REQUESTS, TOKENS, WINDOW, PER_DAY = ARGV[3] + 0, ARGV[4] + 0, ARGV[5] + 0, ARGV[6] + 0
local STARTS, ENDS, FAILURES, OPEN = ARGV[7] + 0, ARGV[8] + 0, ARGV[9] + 0, ARGV[10] + 0
local NO_LIMIT = 9000000000000000
local S, has_moved = {}, false

local function forget(until_when)
    while true do
        local gone = redis.call('ZRANGEBYSCORE', D, '-inf', until_when, 'LIMIT', 0, 500)
        if #gone == 0 then return end
        has_moved = true
        local names = {}
        for i, id in ipairs(gone) do names[i] = 'p:' .. id end
        for _, record in ipairs(redis.call('HMGET', H, unpack(names))) do
            local epoch, tokens = string.match(record, '^O(%d+) %d+ (%d+)')
            if epoch then
                S.f = S.f - 1
                if tonumber(epoch) == S.e then S.g = S.g - 1 end
            else
                tokens = string.sub(record, 2)
            end
            S.t = S.t - tokens
        end
        S.n = S.n - #gone
        redis.call('HDEL', H, unpack(names))
        redis.call('ZREM', D, unpack(gone))
    end
end

local function leave(id)
    if redis.call('ZREM', Q, id) == 1 then
        redis.call('ZREM', L, id)
        redis.call('HDEL', H, 'p:' .. id)
        S.q, has_moved = S.q - 1, true
    end
end

local function load()
    local m = redis.call('HMGET', H, 'k', unpack(NAMES))
    for i, name in ipairs(NAMES) do S[name] = tonumber(m[i + 1] or 0) end
    S.k = m[1] or ''
    if redis.call('ZCARD', D) ~= S.n or redis.call('ZCARD', Q) ~= S.q then
        for _, name in ipairs(redis.call('HKEYS', H)) do
            if string.sub(name, 1, 2) == 'p:' then redis.call('HDEL', H, name) end
        end
        redis.call('DEL', D, Q, L)
        S.n, S.t, S.f, S.g, S.q, has_moved = 0, 0, 0, 0, 0, true
    end
    local starts = STARTS
    if ENDS > 0 and ENDS <= now then starts = ENDS end
    if S.d < starts and starts <= now then
        forget(starts)
        S.d, S.y, has_moved = starts, S.f, true
    end
    forget(now)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', L, '-inf', '(' .. now)) do
        redis.call('ZREM', L, id)
        local record = redis.call('HGET', H, 'p:' .. id)
        if record == 'X' then redis.call('HDEL', H, 'p:' .. id) end
        leave(id)
    end
end

-- Returns the answer after what has changed is stored.
local function save(answer)
    if not has_moved then return answer or 0 end
    S.x = now + 500
    local flat = {'k', S.k}
    for _, name in ipairs(NAMES) do
        flat[#flat + 1] = name
        flat[#flat + 1] = S[name]
    end
    redis.call('HSET', H, unpack(flat))
    local rest = 172800000 + WINDOW + math.max(0, S.c - now)
    for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, rest) end
    return answer or 0
end

local function state()
    local is_closed = S.c > now
    local reason = is_closed and S.k or S.l > 0 and 'reopening' or ''
    return {S.n, S.t, S.y, S.f, S.q, S.b, reason, is_closed and S.c or 0}
end

local function pause(place) return math.min(1000, 250 * (1 + place)) end
"""

#: [12] tokens, [13] patience in ms. Returns 0 if the permit is given, else the reason, ms to wait,
#: and when the provider reopens or 0.
ACQUIRE = (
    _HEAD
    + """
local id, field, tokens = ARGV[11], 'p:' .. ARGV[11], tonumber(ARGV[12])
local m = redis.call('HMGET', H, 'n', 't', 'f', 'e', 'y', 'l', 'q', 'x', field)
local n = tonumber(m[1] or 0)
-- Counts may still hold what has left them, so whom they let through may go; likewise those of
-- yesterday, for what is under way when a day begins counts in it. An empty set would be made
-- anew without its time to live.
if n > 0 and n < ARGV[3] + 0 and not m[9] and m[6] == '0' and m[7] == '0'
    and m[2] + tokens <= ARGV[4] + 0 and m[5] + 0 < ARGV[6] + 0 and now < m[8] + 0 then
    redis.call('HSET', H, 'n', n + 1, 't', m[2] + tokens, 'f', m[3] + 1, 'y', m[5] + 1, field,
        'O' .. m[4] .. ' ' .. now .. ' ' .. tokens)
    redis.call('ZADD', D, now + 5000 + ARGV[5], id)
    return 0
end
"""
    + _TOOLS
    + """
load()
local record = redis.call('HGET', H, field) or ''
local kind = string.sub(record, 1, 1)
if kind == 'O' or kind == 'R' then return save() end
if tokens > TOKENS then
    leave(id)
    return save({'tokens', 0, 0})
end

local place = S.q
if kind == 'W' then place = redis.call('ZRANK', Q, id) end

local function free_at()
    local at, most = S.n + place - REQUESTS, math.max(1, REQUESTS)
    local rounds = math.max(0, math.floor((at - S.n) / most) + 1)
    at = at - rounds * most
    if at < 0 then return now + rounds * WINDOW end
    local first = redis.call('ZRANGE', D, at, at, 'WITHSCORES')[2]
    return math.min(first, now + WINDOW) + rounds * WINDOW
end

local function tokens_free_at(lacking)
    for from = 0, S.n - 1, 100 do
        local found = redis.call('ZRANGE', D, from, from + 99, 'WITHSCORES')
        local names = {}
        for i = 1, #found, 2 do names[#names + 1] = 'p:' .. found[i] end
        for i, each in ipairs(redis.call('HMGET', H, unpack(names))) do
            lacking = lacking - string.match(each, '%d+$')
            if lacking <= 0 then return math.min(found[2 * i], now + WINDOW) end
        end
    end
    return now + WINDOW
end

local function tokens_ahead()
    local total = 0
    for from = 0, place - 1, 100 do
        local names = redis.call('ZRANGE', Q, from, math.min(from + 99, place - 1))
        for i, each in ipairs(names) do names[i] = 'p:' .. each end
        for _, each in ipairs(redis.call('HMGET', H, unpack(names))) do
            total = total + string.sub(each, 2)
        end
    end
    return total
end

local at, own_at, reason, reopens = 0, 0, nil, 0
local function obstacle(when, is_own, why)
    at = math.max(at, when, now + 1)
    if not reason then reason = 'queue' end
    if is_own and when > own_at then own_at, reason = when, why end
end
if S.c > now then
    at, reason, reopens = S.c + pause(place) - pause(0), S.k, S.c
else
    if S.y + place >= PER_DAY then
        obstacle(ENDS > now and ENDS or now + 1000, S.y >= PER_DAY, 'day')
    end
    if S.n + place >= REQUESTS then obstacle(free_at(), S.n >= REQUESTS, 'requests') end
    local lacking = S.t + tokens - TOKENS
    local ahead = TOKENS < NO_LIMIT and tokens_ahead() or 0
    if lacking + ahead > 0 then
        local when = tokens_free_at(lacking + ahead)
        if S.f > 0 then when = math.min(when, now + pause(place)) end
        obstacle(when, lacking > 0, 'tokens')
    end
    if S.l > 0 and S.g + place >= S.l then
        obstacle(now + pause(place), S.g >= S.l, 'reopening')
    end
    if reason == 'day' then reopens = math.max(ENDS, now + 1000) end
end

if not reason then
    leave(id)
    S.n, S.t, S.f, S.y, S.g = S.n + 1, S.t + tokens, S.f + 1, S.y + 1, S.g + 1
    redis.call('HSET', H, field, 'O' .. S.e .. ' ' .. now .. ' ' .. tokens)
    redis.call('ZADD', D, now + 5000 + WINDOW, id)
    has_moved = true
    return save()
end
local is_queued = reason ~= 'breaker' and reason ~= 'quota' and reason ~= 'day'
if is_queued and at - now <= ARGV[13] + 0 then
    if kind ~= 'W' then
        redis.call('ZADD', Q, S.o, id)
        S.q, S.o = S.q + 1, S.o + 1
    end
    redis.call('HSET', H, field, 'W' .. tokens)
    redis.call('ZADD', L, at + 2000, id)
    has_moved = true
else
    leave(id)
end
return save({reason, at - now, reopens})
"""
)

#: [12] the verdict, [13] tokens, [14] ms the provider asked for or 0. Returns the new state or 0.
RELEASE = (
    _HEAD
    + """
local id, field, verdict, tokens = ARGV[11], 'p:' .. ARGV[11], ARGV[12], tonumber(ARGV[13])
local m = redis.call('HMGET', H, 't', 'f', 'd', 'l', 'b', field)
local record = m[6] or ''
local kind = string.sub(record, 1, 1)
if verdict == 'ok' and kind == 'O' and m[4] == '0' and m[5] == '0'
    and ARGV[7] + 0 <= m[3] + 0 and (ARGV[8] + 0 > now or ARGV[8] + 0 <= m[3] + 0) then
    local since, bound = string.match(record, ' (%d+) (%d+)')
    local until_when = math.min(ended, since + 5000) + ARGV[5]
    if until_when > now then
        redis.call('HSET', H, 't', m[1] - bound + tokens, 'f', m[2] - 1, field, 'R' .. tokens)
        redis.call('ZADD', D, until_when, id)
        return 0
    end
end
"""
    + _TOOLS
    + """
load()
record = redis.call('HGET', H, field) or ''
kind = string.sub(record, 1, 1)
leave(id)
if kind == 'R' or kind == 'X' then return save() end
has_moved = true
local epoch, since, bound = -1, now, 0
if kind == 'O' then
    epoch, since, bound = string.match(record, '^O(%d+) (%d+) (%d+)')
    epoch, since = tonumber(epoch), tonumber(since)
    S.f, S.t = S.f - 1, S.t - bound
    if epoch == S.e then S.g = S.g - 1 end
end
if verdict == 'unsent' then
    if kind == 'O' then
        S.n, S.y = S.n - 1, S.y - 1
        redis.call('HDEL', H, field)
        redis.call('ZREM', D, id)
    end
    return save()
end
if kind == 'O' then
    S.t = S.t + tokens
    redis.call('HSET', H, field, 'R' .. tokens)
    redis.call('ZADD', D, math.min(ended, since + 5000) + WINDOW, id)
else
    redis.call('HSET', H, field, 'X')
    redis.call('ZADD', L, now + 5000 + WINDOW, id)
end

local is_open, has_changed = S.l == 0, false
local is_news = is_open or S.c <= now and epoch == S.e
local asked = ARGV[14] ~= '0' and now + ARGV[14]
local function close(why, until_when, is_new)
    if until_when <= math.max(S.c, now) then return end
    has_changed = S.c <= now
    S.c, S.k, S.l = until_when, why, 1
    if has_changed then
        S.e, S.g = S.e + 1, 0
        if is_new then S.s = S.s + 1 end
    end
end
if verdict == 'quota' and since < S.d then verdict = 'throttled' end
if verdict == 'ok' then
    S.b = 0
    if is_news and not is_open then
        S.l = 2 * S.l
        has_changed = S.l >= math.min(REQUESTS, 64)
        if has_changed then S.l, S.c, S.k, S.s = 0, 0, '', 0 end
    end
elseif verdict == 'failed' then
    S.b = S.b + 1
    local is_probe = not is_open and S.k == 'breaker'
    if is_news and (S.b >= FAILURES or is_probe) and FAILURES ~= NO_LIMIT then
        close('breaker', now + OPEN * 2 ^ math.min(S.s, 3), true)
    end
elseif verdict == 'quota' then
    close('quota', ENDS > now and ENDS or asked or now + 60000, is_news)
elseif verdict == 'throttled' and (asked or is_news) then
    close('throttled', asked or now + math.min(60000, 1000 * 2 ^ math.min(S.s, 6)), is_news)
end
return save(has_changed and state())
"""
)

#: Returns the state.
STATE = (
    _HEAD
    + _TOOLS
    + """
if redis.call('EXISTS', H, D, Q, L) == 0 then return {0, 0, 0, 0, 0, 0, '', 0} end
load()
return save(state())
"""
)

#: KEYS: the hash; ARGV: the moment in ms or "", twice.
REOPEN = (
    _HEAD
    + """
if tonumber(redis.call('HGET', H, 'c') or 0) > now then
    redis.call('HSET', H, 'c', now, 's', 0)
end
"""
)
