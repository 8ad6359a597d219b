#!/usr/bin/env bash
# Runs the client suites against a broker and the emulator behind it, both started here on
# loopback, and checks what operators load into Prometheus.
#
# OUTCROP_BIN   the program; built in target/debug unless told
# VENV          the Python environment with tests/clients/requirements.txt; .venv unless told
# VOICE_VENV    the one with tests/clients/requirements-voice.txt; .venv-voice unless told
# LITELLM_VENV  the one with tests/clients/requirements-litellm.txt; .venv-litellm unless told
#
# `make test` installs what this needs.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
clients=$root/tests/clients
venv=$(realpath --no-symlinks "${VENV:-$root/.venv}")
litellm_venv=${LITELLM_VENV:-$root/.venv-litellm}
voice_venv=${VOICE_VENV:-$root/.venv-voice}
bin=${OUTCROP_BIN:-$root/target/debug/outcrop}
start_seconds=20

work=$(mktemp -d "${TMPDIR:-/tmp}/outcrop-clients.XXXXXX")
started=()
failed=()
passed=0

stop_what_was_started() {
    if ((${#started[@]})); then
        kill "${started[@]}" 2>/dev/null || true
        wait "${started[@]}" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop_what_was_started EXIT

# Starts `outcrop …` and sets `address` to the one it prints. What it says goes to $work/NAME.log.
# It sees nothing of the caller's environment, and no .env file.
start() { # name, arguments of outcrop…
    local name=$1 log=$work/$1.log pipe=$work/$1.pipe line=
    shift
    mkfifo "$pipe"
    (
        cd "$work"
        exec env -i PATH="$PATH" HOME="$work" RUST_BACKTRACE=1 \
            AWS_ENDPOINT_URL="${EMULATOR_URL:-}" AWS_REGION=us-east-1 \
            AWS_ACCESS_KEY_ID=AKIAEXAMPLE AWS_SECRET_ACCESS_KEY=example \
            AWS_EC2_METADATA_DISABLED=true \
            "$bin" "$@"
    ) >"$pipe" 2>&1 &
    started+=("$!")
    exec {said}<"$pipe"
    address=
    local deadline=$((SECONDS + start_seconds))
    while ((SECONDS < deadline)) && IFS= read -r -t "$start_seconds" -u "$said" line; do
        printf '%s\n' "$line" >>"$log"
        if [[ $line =~ listening\ on\ (http://[0-9.]+:[0-9]+) ]]; then
            address=${BASH_REMATCH[1]}
            break
        fi
    done
    # Ends by itself when the program does.
    cat <&"$said" >>"$log" &
    exec {said}<&-
    if [[ -z $address ]]; then
        echo "outcrop $name did not say where it listens within $start_seconds s:" >&2
        cat "$log" >&2
        exit 1
    fi
}

step() { # title, command…
    local title=$1 began=$SECONDS
    shift
    printf '\n=== %s\n' "$title"
    if "$@"; then
        passed=$((passed + 1))
        printf -- '--- %s: ok (%s s)\n' "$title" "$((SECONDS - began))"
    else
        failed+=("$title")
        printf -- '--- %s: FAILED (%s s)\n' "$title" "$((SECONDS - began))"
    fi
}

# Asks the broker with the key and leaves the reply's head in $work/head, its body in $work/body.
ask() { # path, further arguments of curl…
    local path=$1
    shift
    curl --silent --show-error --max-time 30 --dump-header "$work/head" --output "$work/body" \
        --header "authorization: Bearer $OUTCROP_KEY" "$@" "$OUTCROP_URL$path"
}

expect() { # what, pattern, file
    if ! grep --quiet --ignore-case --extended-regexp -- "$2" "$3"; then
        printf 'expected %s (%s) in:\n' "$1" "$2"
        cat "$3"
        return 1
    fi
}

probes() {
    local path
    for path in /health /livez /readyz; do
        ask "$path" && expect "$path to be well" '^HTTP/1.1 200' "$work/head" || return 1
    done
}

errors() {
    ask /no/such/path &&
        expect "an unknown path to be 404" '^HTTP/1.1 404' "$work/head" &&
        expect "an error object" '"code": ?"not_found"' "$work/body" &&
        expect "a request id" '^x-request-id: .' "$work/head" || return 1
    ask /v1/chat/completions --request GET &&
        expect "a wrong method to be 405" '^HTTP/1.1 405' "$work/head" &&
        expect "the right method to be named" '^allow: .*POST' "$work/head" || return 1
    ask /v1/chat/completions --header 'content-type: application/json' --data '{"model":' &&
        expect "half a body to be 400" '^HTTP/1.1 400' "$work/head" || return 1
    OUTCROP_KEY=wrong ask /v1/models &&
        expect "a wrong key to be 401" '^HTTP/1.1 401' "$work/head" || return 1
}

ndjson_stream() {
    ask /api/agent/stream --no-buffer --header 'content-type: application/json' \
        --data '{"agent_id":"DEMOAGENT1","session_id":"curl-check","input_text":"count to 5"}' &&
        expect "a stream" '^HTTP/1.1 200' "$work/head" || return 1
    head -n 1 "$work/body" >"$work/first"
    tail -n 1 "$work/body" >"$work/last"
    expect "a start line" '^\{"type": ?"start"' "$work/first" &&
        expect "a completion line" '^\{"type": ?"completion"' "$work/last"
}

metrics() {
    ask /metrics && expect "the text format" '^content-type: text/plain; version=0.0.4' \
        "$work/head" && promtool check metrics <"$work/body"
}

python_suites() {
    "$venv/bin/python" -m pytest -q --rootdir "$clients" -c "$clients/pytest.ini" "$@"
}

# Whatever is asked, however wrong, gets an answer of the kind that the document promises. Whoever
# follows a session may wait for a minute: that one is left out.
openapi_document() {
    # It keeps what it found where it is.
    (cd "$work" && "$venv/bin/schemathesis" run "$OUTCROP_URL/openapi.json" --no-color \
        --header "authorization: Bearer $OUTCROP_KEY" --request-timeout 30 \
        --phases coverage,fuzzing --max-examples "${OPENAPI_EXAMPLES:-3}" --seed 1 \
        --exclude-path "/v1/sessions/{id}/events" \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance)
}

litellm_suite() {
    venv=$litellm_venv python_suites "$clients/litellm_client.py"
}

voice_suite() {
    venv=$voice_venv python_suites "$clients/voice_clients.py"
}

node_suite() { # files…
    (cd "$clients" && node --test --test-reporter=spec "$@")
}

if [[ ! -x $bin ]]; then
    cargo build --locked --bin outcrop
fi

OUTCROP_KEY=oc_$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
OUTCROP_MODEL=demo-agent
OUTCROP_VOICE_MODEL=hotline
start emulate emulate --listen 127.0.0.1:0
EMULATOR_URL=$address
cat >"$work/outcrop.toml" <<TOML
[server]
listen = "127.0.0.1:0"
keep_alive_seconds = 0.2

[store]
kind = "memory"

[routing]
allow_direct = true

[openai]
base_url = "$EMULATOR_URL/v1"

[[models]]
name = "$OUTCROP_MODEL"
backend = "bedrock-agent"
agent_id = "DEMOAGENT1"
agent_alias_id = "TSTALIASID"

[[models]]
name = "$OUTCROP_VOICE_MODEL"
backend = "bedrock-agent"
agent_id = "DEMOAGENT1"
profile = "voice"
filler = ["One moment, please."]
filler_after_ms = 200
spoken_errors = true

[[keys]]
tenant = "clients"
key = "$OUTCROP_KEY"
TOML

start serve serve --config "$work/outcrop.toml" --listen 127.0.0.1:0
OUTCROP_URL=$address
OUTCROP_BIN=$bin
export EMULATOR_URL OUTCROP_URL OUTCROP_KEY OUTCROP_MODEL OUTCROP_VOICE_MODEL OUTCROP_BIN
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
printf 'emulator %s, broker %s\n' "$EMULATOR_URL" "$OUTCROP_URL"
# In the home of what was started: the emulator confirms by itself.
env -i PATH="$PATH" HOME="$work" AWS_ENDPOINT_URL="$EMULATOR_URL" "$bin" login >"$work/login.log"
# curl waits between attempts, and for a 503 too.
curl --silent --fail --output /dev/null --retry "$start_seconds" --retry-delay 1 \
    --retry-connrefused --retry-max-time "$start_seconds" "$OUTCROP_URL/readyz"

step "probes" probes
step "errors over curl" errors
step "NDJSON stream over curl" ndjson_stream
step "emulator, boto3" python_suites "$clients"/emulator_*boto3.py \
    "$clients/control_plane_boto3.py" "$clients/agentcore_boto3.py"
step "emulator, OpenAI SDK for Python" python_suites "$clients/emulator_openai.py"
step "broker, OpenAI, Anthropic and Agents SDKs for Python, LangChain, Vapi, boto3" python_suites "$clients"
step "broker, LiteLLM" litellm_suite
step "broker, Pipecat and LiveKit Agents" voice_suite
step "broker, OpenAI SDK for Node" node_suite openai_sdk.test.mjs openai_sdk_models.test.mjs \
    openai_responses.test.mjs
step "broker, Vercel AI SDK" node_suite vercel_ai_sdk.test.mjs
step "OpenAPI document, schemathesis" openapi_document
step "metrics of the broker that served them" metrics
step "alert rules" promtool check rules grafana/alerts.yml
step "when alerts fire" promtool test rules grafana/alerts_test.yml
step "scrape example" promtool check config grafana/prometheus.yml

printf '\n%s passed, %s failed\n' "$passed" "${#failed[@]}"
if ((${#failed[@]})); then
    printf '  failed: %s\n' "${failed[@]}"
    printf '\nwhat the broker said last:\n'
    tail -n 40 "$work/serve.log"
    exit 1
fi
