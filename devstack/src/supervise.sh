# Becomes the program named by its arguments, and leaves a watcher behind that sends it signals, and that ends it when its
# parent dies.
#
# Standard input is a pipe whose other end only the parent holds. It carries a word a line: a signal to send, or
# "released" once the parent has seen the program end. When the pipe closes without that word, the parent is gone, by
# whatever death.
#
# Arguments: the signal that asks the program to stop, the tenths of a second it has for that, a directory to remove
# when the parent is gone (or ''), '-' if the program's whole process group is meant (or ''), the program, its arguments.

stop_signal=$1 grace_tenths=$2 directory=$3 group=$4
shift 4
exec 3<&0 </dev/null

# Forked twice, so that the watcher is not a child of the program, which might wonder about it. $$ stays the number of
# this shell, which exec turns into the program.
(
    (
        trap '' HUP INT QUIT TERM
        while read -r word <&3; do
            case $word in
            released)
                # Our own group too, so nothing may follow.
                [ -n "$group" ] && kill -s KILL -- "-$$"
                exit
                ;;
            # We must not freeze ourselves with the group.
            STOP | CONT) kill -s "$word" $$ ;;
            *) kill -s "$word" -- "$group$$" ;;
            esac
        done
        kill -s "$stop_signal" -- "$group$$"
        tenths=0
        while [ "$tenths" -lt "$grace_tenths" ] && kill -0 $$; do
            sleep 0.1
            tenths=$((tenths + 1))
        done
        kill -s KILL $$
        # The program's own children may still be writing for a moment.
        tenths=0
        while [ -n "$directory" ] && [ -e "$directory" ] && [ "$tenths" -lt 50 ]; do
            rm -rf "$directory"
            [ -e "$directory" ] && sleep 0.1
            tenths=$((tenths + 1))
        done
        [ -n "$group" ] && kill -s KILL -- "-$$"
    ) >/dev/null 2>&1 &
)

exec 3<&-
exec "$@"
