#!/bin/sh
# PID 1 of every container: runs /pushmill/script and carries what it prints into the spool files.
#
# The script prints into named pipes, not into the files: `echo x >/dev/stderr` and `tee /dev/stderr` open by name
# what they were given and would truncate a file. One cat per stream appends from its pipe to its file.
# The script runs in the foreground, so that it gets every signal with its default action.
#
# Only this shell has /pushmill/alive open: the runner learns at once that it has exited. Docker says so only after it
# has removed the container's network.

exec 9<>/pushmill/alive # opening a pipe for both does not wait for a reader
stopping=
trap 'stopping=yes' TERM
cats=
for stream in stdout stderr; do
    (
        trap '' TERM INT HUP
        PATH="$PATH:/usr/local/bin:/usr/bin:/bin"
        exec cat <"/pushmill/pipe.$stream" >>"/pushmill/$stream"
    ) 9>&- &
    cats="$cats $!"
done

if command -v bash >/dev/null 2>&1; then shell=bash; else shell=sh; fi
first=
read -r first </pushmill/script || :
case "$first" in
    '#!'*) set -- /pushmill/script ;;
    *) set -- "$shell" /pushmill/script ;;
esac
"$@" </dev/null >/pushmill/pipe.stdout 2>/pushmill/pipe.stderr 9>&-
code=$?

# The kernel counts how often it refused this container a process or thread. No program is started to find out: it
# might be refused too. The first file is that of cgroup v2, the second that of v1.
for events in /sys/fs/cgroup/pids.events /sys/fs/cgroup/pids/pids.events; do
    if [ -r "$events" ]; then
        while read -r word count; do
            if [ "$word" = max ] && [ "$count" != 0 ]; then echo pids >>/pushmill/commands; fi
        done <"$events"
    fi
done
echo "end $code" >>/pushmill/commands

# What the script left behind may say goodbye: until the runner's kill when it was told to stop, else for two seconds.
kill -TERM -1 2>/dev/null
if [ -z "$stopping" ]; then
    (
        trap '' TERM
        PATH="$PATH:/usr/local/bin:/usr/bin:/bin"
        sleep 2
        kill -KILL $cats
    ) >/dev/null 2>&1 9>&- &
fi
trap '' TERM
wait $cats
exit "$code"
