//! What must happen at once, as scripts that Redis runs whole.

use redis::Script;

/// Takes messages off the lists and notes that they are held, so that none is lost between the two.
///
/// KEYS: the hash of what is held, its index, the lists in their order. ARGV: now, how many, the beginning of the tags, and for
/// each list what ends its records. Gives tag, list, message, and so on. What is no JSON object would spoil the hash for others:
/// it is handed over unnoted, without a tag.
pub(super) const FETCH: &str = r"
local left = tonumber(ARGV[2])
local out = {}
for i = 3, #KEYS do
    while left > 0 do
        local message = redis.call('RPOP', KEYS[i])
        if not message then break end
        local tag = ''
        if string.sub(message, 1, 1) == '{' and string.sub(message, -1) == '}' then
            tag = ARGV[3] .. left
            redis.call('HSET', KEYS[1], tag, '[' .. message .. ARGV[i + 1])
            redis.call('ZADD', KEYS[2], ARGV[1], tag)
        end
        out[#out + 1] = tag
        out[#out + 1] = tostring(i - 3)
        out[#out + 1] = message
        left = left - 1
    end
end
return out
";

/// KEYS: the hash of what is held, its index. ARGV: a tag.
pub(super) const ACKNOWLEDGE: &str = r"
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
";

/// Puts a held message, in which is written by now that it was delivered before, where it is taken next, unless somebody else has it.
///
/// KEYS: the hash of what is held, its index, a list. ARGV: a tag, the message, and since when it must not have been heard of (empty:
/// it may have been).
pub(super) const RESTORE: &str = r"
local heard = redis.call('ZSCORE', KEYS[2], ARGV[1])
if heard and ARGV[3] ~= '' and tonumber(heard) > tonumber(ARGV[3]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[3], ARGV[2])
return 1
";

/// Stores a state and tells whoever waits, unless a success is stored already: as text, or as ours, which begins with a byte of its own.
///
/// KEYS: the key. ARGV: the text, how long to keep it in seconds (0: for ever), the channel of whoever waits.
pub(super) const STORE: &str = r#"
local old = redis.call('GET', KEYS[1])
if old and (string.byte(old) == 193 or string.find(old, '^{%s*"status"%s*:%s*"SUCCESS"')) then
    redis.call('PUBLISH', ARGV[3], old)
    return 0
end
if ARGV[2] == '0' then
    redis.call('SET', KEYS[1], ARGV[1])
else
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
"#;

/// Notes a part of a chord. When all are there, whoever gets the claim is given them.
///
/// KEYS: results, extra count, size, seen parts, claim. ARGV: a name of the part, what it says, its place, how long to keep it,
/// how long a claim holds, the claim.
pub(super) const CHORD_PART: &str = r"
if redis.call('GET', KEYS[5]) == 'done' then return {'0'} end
if redis.call('SADD', KEYS[4], ARGV[1]) == 1 then
    redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
end
for i = 1, 4 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
local size = redis.call('GET', KEYS[3])
local extra = redis.call('GET', KEYS[2]) or 0
if not size or redis.call('ZCARD', KEYS[1]) ~= tonumber(size) + tonumber(extra) then return {'0'} end
if not redis.call('SET', KEYS[5], ARGV[6], 'NX', 'EX', ARGV[5]) then return {'0'} end
local out = redis.call('ZRANGE', KEYS[1], 0, -1)
table.insert(out, 1, '1')
return out
";

/// All scripts of a broker.
pub(super) struct BrokerScripts {
    pub(super) fetch: Script,
    pub(super) acknowledge: Script,
    pub(super) restore: Script,
}

impl BrokerScripts {
    pub(super) fn new() -> Self {
        Self {
            fetch: Script::new(FETCH),
            acknowledge: Script::new(ACKNOWLEDGE),
            restore: Script::new(RESTORE),
        }
    }
}

/// All scripts of a backend.
pub(super) struct BackendScripts {
    pub(super) store: Script,
    pub(super) chord_part: Script,
}

impl BackendScripts {
    pub(super) fn new() -> Self {
        Self {
            store: Script::new(STORE),
            chord_part: Script::new(CHORD_PART),
        }
    }
}
