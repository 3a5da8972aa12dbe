// Reads the usage of allowed requests out of their answers, and makes the line that reports it.
// ES5 with `let`, for njs 0.7.9 and later. Nothing here may throw: that would cut an answer off.

// The names that providers tell token counts by.
const COUNTS = ['prompt_tokens', 'completion_tokens', 'cached_tokens', 'input_tokens', 'output_tokens',
                'total_tokens', 'cache_read_input_tokens', 'cache_creation_input_tokens'];
// What has a price of its own, in whichever of the objects it stands, and the name that we give it.
const OF_PROMPT = {cached_tokens: 'cached_tokens', cache_write_tokens: 'cache_write_tokens',
                   audio_tokens: 'input_audio_tokens', image_tokens: 'input_image_tokens'};
const OF_OUTPUT = {audio_tokens: 'output_audio_tokens', image_tokens: 'output_image_tokens',
                   reasoning_tokens: 'reasoning_tokens'};
const PARTS = {prompt_tokens_details: OF_PROMPT, input_tokens_details: OF_PROMPT, input_token_details: OF_PROMPT,
               completion_tokens_details: OF_OUTPUT, output_tokens_details: OF_OUTPUT,
               cache_creation: {ephemeral_1h_input_tokens: 'cache_creation_1h_tokens'}};
const MAX_JSON = 512 * 1024;     // a plain answer up to this is read whole; of a longer one, the end
const TAIL = 8 * 1024;
const MAX_TRIES = 100;           // names that are looked at from the end of it, until one is the usage
const MAX_EVENT = 1024 * 1024;   // an event longer than this passes unread

// By request id: with some engines of njs, what a module remembers outlives a request.
const states = {};

function state_of(r) {
    const id = r.variables.request_id;
    if (!states[id]) {
        // Not of headersOut: other filters may have changed it before us.
        const coding = (r.variables.upstream_http_content_encoding || '').trim().toLowerCase();
        const plain = !coding || coding == 'identity';
        const type = (r.variables.upstream_http_content_type || '').toLowerCase();
        states[id] = {
            sse: type.indexOf('text/event-stream') >= 0, json: type.indexOf('json') >= 0, plain: plain,
            pieces: [], size: 0, long: false, event: [], held: 0, usage_only: false, passing: false,
            chunks: 0, told: {}, model: '', last: false, bytes: 0, broken: false,
        };
    }
    return states[id];
}

// What has come by now. When the provider breaks its answer off, NGINX flushes what there is of it:
// the last call then has no data, and is not the last one of a whole answer. When the client leaves,
// there is no such call.
function note(s, data, flags) {
    s.bytes += data.length;
    s.broken = !data.length && !flags.last;
    if (flags.last) s.last = true;
}

// ---- Usage

function take(s, usage, names) {
    names.forEach(function (name) {
        const count = usage[name];
        if (typeof count == 'number' && count >= 0) s.told[name] = count;
    });
}

function take_as(s, usage, names) {
    Object.keys(names).forEach(function (name) {
        const count = usage[name];
        if (typeof count == 'number' && count >= 0) s.told[names[name]] = count;
    });
}

function read(s, o) {
    if (!o || typeof o != 'object') return;
    const inner = o.response || o.message || {};
    if (!s.model) s.model = String(o.model || inner.model || '').substring(0, 256);
    // Anthropic begins a stream with its input, and an output that is not all of it.
    const begins = o.type == 'message_start';
    const usage = o.usage || inner.usage;
    if (!usage || typeof usage != 'object') return;
    take(s, usage, begins ? COUNTS.filter(function (name) { return name != 'output_tokens'; }) : COUNTS);
    take_as(s, usage, {seconds: 'audio_seconds'});
    Object.keys(PARTS).forEach(function (part) {
        if (usage[part] && typeof usage[part] == 'object') take_as(s, usage[part], PARTS[part]);
    });
}

// One line of a stream. Returns what it says if it was worth reading.
function event_line(s, line) {
    if (line.length < 7 || line[0] != 100 || line[1] != 97 || line[2] != 116) return null;   // `data:`
    if (line.indexOf('"choices":[{') >= 0 || line.indexOf('"choices": [{') >= 0 ||
        line.indexOf('"content_block_delta"') >= 0 || line.indexOf('.delta"') >= 0) s.chunks++;
    const has_usage = line.indexOf('"usage"') >= 0;
    if (!has_usage && (s.model || line.indexOf('"model"') < 0)) return null;
    let o;
    try { o = JSON.parse(line.subarray(5).toString()); } catch (e) { return null; }   // [DONE], or nonsense
    read(s, o);
    return o;
}

// Calls `each` with every whole line of what has come, `\n` included; keeps the rest. A line that
// is too long is not read, and lost unless `all`.
function lines(s, data, all, each) {
    let from = 0, nl;
    while ((nl = data.indexOf(10, from)) >= 0) {
        let line = data.subarray(from, nl + 1);
        if (s.pieces.length) {
            s.pieces.push(line);
            line = s.size > MAX_EVENT && !all ? null : Buffer.concat(s.pieces);
            s.pieces = [];
            s.size = 0;
        }
        if (line) each(line);
        from = nl + 1;
    }
    if (from < data.length) {
        s.size += data.length - from;
        // A copy: what NGINX hands us is used again.
        if (s.size <= MAX_EVENT || all) s.pieces.push(Buffer.from(data.subarray(from)));
        else s.pieces = [Buffer.from('')];   // it is too long: only its end is waited for
    }
}

function meter(s, data, last) {
    if (!s.plain) return;
    if (s.sse) {
        lines(s, data, false, function (line) { event_line(s, line); });
        if (last && s.pieces.length && s.size <= MAX_EVENT) event_line(s, Buffer.concat(s.pieces));
    } else if (s.json) {
        plain(s, data, last);
    }
}

function plain(s, data, last) {
    s.size += data.length;
    if (data.length) s.pieces.push(Buffer.from(data));
    if (s.size > MAX_JSON) {
        s.long = true;
        const all = Buffer.concat(s.pieces);
        s.pieces = [Buffer.from(all.subarray(Math.max(0, all.length - TAIL)))];
        s.size = s.pieces[0].length;
    }
    if (!last) return;
    const text = Buffer.concat(s.pieces).toString();
    s.pieces = [];
    if (!s.long) read(s, JSON.parse(text));
    else read_end(s, text);
}

// Of an answer that is too long, its last members: embeddings tell their usage behind the vectors.
// An answer may also repeat objects of the client's (tools) with a `usage` of their own: what stands
// behind one of those, up to the end, is no object by itself.
function read_end(s, text) {
    const model = text.match(/"model"\s*:\s*"([^"\\]*)"/);
    let at = text.length, o = null;
    for (let tries = 0; tries < MAX_TRIES && !o && (at = text.lastIndexOf('"usage"', at - 1)) >= 0; tries++) {
        try { o = JSON.parse('{' + text.substring(at)); } catch (e) { o = null; }
    }
    if (o) read(s, {usage: o.usage, model: model ? model[1] : ''});
}

// js_body_filter of @llm: everything goes on as it came, then it is looked at.
function usage(r, data, flags) {
    r.sendBuffer(data, flags);
    try {
        const s = state_of(r);
        note(s, data, flags);
        meter(s, data, flags.last);
    } catch (e) {
        r.warn('pdp: usage not read: ' + e.message);
    }
}

// ---- Streams that are asked for their usage behind the client's back

// Goes through whole events; returns what of them the client may see.
function without_usage(s, data, last) {
    const out = [];
    lines(s, data, true, function (line) {
        const o = event_line(s, line);
        if (o && o.usage && Array.isArray(o.choices) && !o.choices.length) s.usage_only = true;
        s.event.push(Buffer.from(line));
        s.held += line.length;
        if (line.length <= 2 && (line[0] == 10 || line[0] == 13)) {   // the empty line that ends it
            if (!s.usage_only) out.push(Buffer.concat(s.event));
            s.event = [];
            s.held = 0;
            s.usage_only = false;
        }
    });
    if (last) {
        if (s.pieces.length) event_line(s, Buffer.concat(s.pieces));
        out.push(rest(s));
    }
    return Buffer.concat(out);
}

// What was held back, and is not any more.
function rest(s) {
    const all = Buffer.concat(s.event.concat(s.pieces));
    s.event = [];
    s.pieces = [];
    s.size = s.held = 0;
    return all;
}

// js_body_filter of @llm_inject
function usage_kept(r, data, flags) {
    let s = null, before = [], out = null;
    try {
        s = state_of(r);
        if (s.sse && s.plain && !s.passing) {
            note(s, data, flags);
            before = s.event.concat(s.pieces);
            out = without_usage(s, data, flags.last);
            if (s.held + s.size > MAX_EVENT) {   // no event that we know: let all of it go on
                s.passing = true;
                out = Buffer.concat([out, rest(s)]);
            }
        }
    } catch (e) {
        if (s) {
            s.passing = true;
            rest(s);
        }
        out = Buffer.concat(before.concat([data]));
        r.warn('pdp: usage not read: ' + e.message);
    }
    if (out === null) {
        usage(r, data, flags);
    } else if (out.length || flags.last || !data.length) {
        r.sendBuffer(out, {last: flags.last, flush: true});
    }
}

// js_header_filter of @llm_inject: what is kept back makes the answer shorter than was told.
function shorter(r) {
    delete r.headersOut['Content-Length'];
}

// A name of as many letters as `stream_options`, some of which may be written as escapes.
const ALIKE = /"(?:[a-z_]|\\u00[0-9a-f]{2}){14}"\s*:/i;

// proxy_set_body of @llm_inject. The PDP has read the body: it is one JSON object that has no
// `stream_options` twice; and it is in memory, or the PDP would have sent it to @llm.
function with_usage(r) {
    let text = '';
    try {
        text = r.requestText || '';
        if (!ALIKE.test(text)) return text.replace('{', '{"stream_options":{"include_usage":true},');
        const body = JSON.parse(text);           // it has options of its own
        const options = {include_usage: true};
        Object.keys(body.stream_options || {}).forEach(function (name) {
            // Some servers fold case, or end a name at its first null.
            const loosely = name.toLowerCase().split('\0')[0];
            if (loosely != 'include_usage') options[name] = body.stream_options[name];
        });
        body.stream_options = options;
        return JSON.stringify(body);
    } catch (e) {
        r.warn('pdp: body not changed: ' + e.message);
        return text;
    }
}

// ---- The line, made in the log phase of every allowed request

function line(r) {
    const v = r.variables, s = states[v.request_id] || {told: {}, plain: true};
    delete states[v.request_id];
    const tries = (v.upstream_status || '').split(/[,:]/);
    const status = tries[tries.length - 1].trim();
    return JSON.stringify({
        v: 1,
        ref: v.pdp_reference,
        id: v.request_id,
        status: Number(v.status),
        upstream_status: status == '-' ? '' : status,
        // NGINX's own count has the framing of chunks in it.
        bytes: s.bytes === undefined ? Number(v.body_bytes_sent) : s.bytes,
        time: Number(v.request_time),
        at: Number(v.msec),
        completed: v.request_completion == 'OK',
        sse: !!s.sse,
        encoded: !s.plain,
        broken: !!s.broken,
        last: !!s.last,
        chunks: s.chunks || 0,
        told: s.told,
        model: s.model || '',
    });
}

// The provider's credentials. Without any, no header is sent, and the provider refuses.
function credentials() {
    const key = process.env.PROVIDER_API_KEY;
    return key ? 'Bearer ' + key : '';
}

export default {usage, usage_kept, shorter, with_usage, line, credentials};
