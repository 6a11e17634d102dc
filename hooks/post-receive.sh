#!/bin/sh
# pushmill's post-receive hook. It writes each push to a file in pushmill/, beside the refs, and then tells the server,
# signed. It never fails a push and never holds one up for long: what could not be told is told with the next push.
# Needs curl and openssl. `pushmill hook install` writes this file anew; keep changes elsewhere.

trap '' HUP PIPE
umask 027
dir=$PWD/pushmill
url=${PUSHMILL_HOOK_URL:-$(cat "$dir/url")}

field() { # name, value: one line, in which a line feed is \n and a backslash \\; long values are cut
	printf '%s ' "$1"
	printf '%.4004s\n' "$2" | LC_ALL=C sed -e 's/\\/\\\\/g' -e '$!s/$/\\n/' | tr -d '\n'
	echo
}

signature() { # of the text $1 and a line feed: HMAC-SHA256 by plain hashing, so the secret is on no command line
	printf '%s\n' "$1" | cat "$dir/ipad" - | openssl dgst -sha256 -binary |
		cat "$dir/opad" - | openssl dgst -sha256 -r | cut -c 1-64
}

post() { # text, seconds, preference (RFC 7240); prints the answer and, on a last line, its status: 000 without one
	signed=$(signature "$1")
	printf '%s\n' "$1" | curl -q -s -S -g --proto '=http,https' --max-time "$2" \
		-H 'Content-Type: text/plain; charset=utf-8' -H 'Expect:' -H "Prefer: $3" \
		-H "X-Pushmill-Signature-256: sha256=$signed" --data-binary @- -w '\n%{http_code}' --url "$url" 2>&1
}

settle() { # file, status: told, never to be told, or kept
	case $2 in
	2??) rm -f "$1" ;;
	400 | 413 | 415) mv -f "$1" "${1%.push}.refused" ;;
	*) return 1 ;;
	esac 2>/dev/null
	return 0
}

# 1. The push as a file: from here on nothing is lost.
new=$(mktemp "$dir/new.XXXXXXXXXXXX") || exit 0
now=$(date +%s)
id=$now-$$-${new##*.}
own=$dir/$id.push
{
	printf 'pushmill-push 2\nid %s\n' "$id"
	[ -z "${PUSHMILL_BASE_URL-}" ] || field base "$PUSHMILL_BASE_URL"
	field pusher "${PUSHMILL_PUSHER:-${REMOTE_USER:-${GL_USER:-$(id -un)}}}"
	count=0
	while [ "$count" -lt "${GIT_PUSH_OPTION_COUNT:-0}" ] && [ "$count" -lt 33 ]; do # the server reads 32
		eval "option=\$GIT_PUSH_OPTION_$count" # the name is evaluated, never the value
		field option "$option"
		count=$((count + 1))
	done
	while read -r old after ref; do
		printf 'ref %s %s %s\n' "$old" "$after" "$ref"
	done
} >"$new"
sync "$new" 2>/dev/null
push=$(cat "$new") # whoever sweeps this directory may take the file at any time; telling twice is harmless
mv "$new" "$own" || exit 0

# 2. Tell the server. It takes files of repositories that it serves by itself, too.
if ! command -v curl >/dev/null || ! command -v openssl >/dev/null; then
	[ -n "${PUSHMILL_HOOK_URL-}" ] ||
		echo "pushmill: install curl and openssl on this machine; until then pushes are kept in $dir"
	exit 0
fi

told=0
answer=
for file in "$dir"/*.push; do
	name=${file##*/}
	[ -f "$file" ] && [ "${name%%-*}" -lt $((now - 5)) ] 2>/dev/null || continue # a younger one has its own hook
	[ "$told" = 0 ] || [ $(($(date +%s) - now)) -lt 1 ] || break # one in any case: a second may just have ended
	earlier=$(cat "$file" 2>/dev/null) || continue
	answer=$(post "$earlier" 1 respond-async)
	settle "$file" "${answer##*
}" || break
	told=$((told + 1))
done
[ "$told" = 0 ] || echo "pushmill: $told earlier push(es) that had waited are told as well"

[ "${answer##*
}" = 000 ] || answer=$(post "$push" 2 wait=2) # a server that was just now away is not asked twice
status=${answer##*
}
text=$(printf '%s' "${answer%
*}") # without the line feeds at its end
if settle "$own" "$status"; then
	printf '%s\n' "$text"
elif [ -n "${PUSHMILL_HOOK_URL-}" ]; then
	echo "pushmill: received; the server is busy and runs it in a moment"
elif [ "$status" = 000 ]; then
	echo "pushmill: $url was not reached ($text); the push is kept and told with the next one"
else
	echo "pushmill: $url answered $status ($text); the push is kept and told with the next one"
fi
exit 0
