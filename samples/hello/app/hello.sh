#!/bin/sh
# Says hello in every language that the artifact has gathered.
set -e
echo "$(cat /usr/share/hello/count) greetings, as $(id -un):"
while read -r greeting; do
    echo "  $greeting $(echo $(cat /usr/share/hello/words.txt))"
done < /usr/share/hello/greetings.txt
